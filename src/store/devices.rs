//! What is stored of devices: those that are paired with what each was granted, those that ask to be, and codes that let one in.
//!
//! The rows are few and are read once; from then on who owns them (`gateway/devices`) keeps them in memory and writes here before anything takes effect. The rules are not here but in `auth/pairing`: this module only keeps what they decide.
//! Tokens and codes are stored as digests.

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::op::{Found, Op, Query};
use super::writer::Message;
use super::{Store, mismatch};
use crate::protocol::scope::ScopeSet;

/// What a device says of itself. Text for people, made harmless before it is stored; it decides nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Described {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Its operating system or browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_family: Option<String>,
    /// Its client's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Its client's mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_mode: Option<String>,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestState {
    /// Nobody has decided.
    Pending,
    /// It was granted.
    Approved,
    /// It was refused.
    Rejected,
    /// Its time ran out, or the device asked for more.
    Expired,
}

impl RequestState {
    const ALL: [Self; 4] = [Self::Pending, Self::Approved, Self::Rejected, Self::Expired];

    /// The word for it in the store and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }

    /// The state of this word.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A device asks to be let in. Times are wall-clock ms since the epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairRequest {
    /// Its id, random.
    pub request_id: String,
    /// Who asks: the digest of its key.
    pub device_id: String,
    /// Its key, base64url.
    pub public_key: String,
    /// For which role.
    pub role: &'static str,
    /// For which scopes.
    pub scopes: ScopeSet,
    /// Why it must ask: `not-paired`, `role-upgrade`, `scope-upgrade`, `token-lost`, `revoked`.
    pub reason: String,
    /// What it says of itself.
    pub described: Described,
    /// From which address, in its folded form.
    pub address: Option<String>,
    /// What became of it.
    pub state: RequestState,
    /// When it asked.
    pub created_at: u64,
    /// Until when it can be decided.
    pub expires_at: u64,
    /// When it was decided.
    pub resolved_at: Option<u64>,
}

/// What a device was granted for one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The role.
    pub role: &'static str,
    /// What was approved.
    pub scopes: ScopeSet,
    /// SHA-256 of its token; none until the device has fetched one.
    pub digest: Option<[u8; 32]>,
    /// Until when the device's signature alone gets it a new token.
    pub claim_until: Option<u64>,
    /// When it was granted first.
    pub created_at: u64,
    /// When its token was made anew last.
    pub rotated_at: Option<u64>,
    /// When it was taken back.
    pub revoked_at: Option<u64>,
    /// When its token was used last, to the minute.
    pub last_used_at: Option<u64>,
}

/// A paired device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRecord {
    /// The digest of its key.
    pub device_id: String,
    /// Its key, base64url.
    pub public_key: String,
    /// What it said of itself when it asked.
    pub described: Described,
    /// From which address it asked.
    pub address: Option<String>,
    /// When it was paired first.
    pub created_at: u64,
    /// When it was approved last.
    pub approved_at: u64,
    /// What it was granted, one for each role.
    pub grants: Vec<Grant>,
}

/// A code that lets one device in without a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetupCode {
    /// SHA-256 of the code.
    pub digest: [u8; 32],
    /// For which role.
    pub role: &'static str,
    /// With which scopes.
    pub scopes: ScopeSet,
    /// The principal that made it.
    pub made_by: String,
    /// The device that used it; no other one can.
    pub device_id: Option<String>,
    /// When it was made.
    pub created_at: u64,
    /// Until when it can be used.
    pub expires_at: u64,
}

/// One row to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceWrite {
    /// This request, new or in place of the old one.
    Request(Box<PairRequest>),
    /// No request of this id.
    NoRequest(String),
    /// This device with exactly these grants, new or in place of the old one.
    Device(Box<DeviceRecord>),
    /// No device of this id.
    NoDevice(String),
    /// This code, new or in place of the old one.
    Code(Box<SetupCode>),
    /// No code of this digest.
    NoCode([u8; 32]),
}

/// All rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceRows {
    /// Paired devices.
    pub devices: Vec<DeviceRecord>,
    /// Requests, decided ones too.
    pub requests: Vec<PairRequest>,
    /// Codes.
    pub codes: Vec<SetupCode>,
}

/// The two roles, as they stand in the store.
pub const ROLES: [&str; 2] = ["operator", "node"];

impl Store {
    /// Everything that is stored of devices.
    ///
    /// # Errors
    /// See [`Self::run`].
    pub async fn devices(&self) -> Result<DeviceRows, StoreError> {
        match self.ask(Query::Devices).await? {
            Found::Devices(rows) => Ok(*rows),
            other => Err(mismatch(&other)),
        }
    }

    /// Writes rows, all or none, and waits until that is durable.
    ///
    /// # Errors
    /// Nothing was written.
    pub async fn write_devices(&self, writes: Vec<DeviceWrite>) -> Result<(), StoreError> {
        self.apply(Op::WriteDevices(writes)).await.map(drop)
    }

    /// As [`Self::write_devices`], but waits for nothing. When the queue is full it is left out and the log says so; so only what is nice to know is written this way.
    pub fn note_devices(&self, writes: Vec<DeviceWrite>) {
        if let Err(error) = self.ops.try_send(Message::Op(Op::WriteDevices(writes), None)) {
            tracing::warn!(%error, "a note about a device was left out");
        }
    }
}
