//! Devices as SQL: all rows at once, and rows to put or to drop.

use rusqlite::{Connection, Row, params};

use super::devices::{DeviceRecord, DeviceRows, DeviceWrite, Grant, PairRequest, ROLES, RequestState, SetupCode};
use super::error::StoreError;
use super::op::Applied;
use super::sql_read::{ms, unreadable, unsigned};
use super::sql_write::{Failure, execute};
use crate::protocol::scope::ScopeSet;

/// Everything.
///
/// # Errors
/// A statement failed or a row is not what we wrote.
pub fn all(conn: &Connection) -> rusqlite::Result<DeviceRows> {
    let mut devices: Vec<DeviceRecord> =
        conn.prepare("SELECT * FROM devices ORDER BY created_at, device_id")?.query_map([], device)?.collect::<Result<_, _>>()?;
    let mut grants = conn.prepare("SELECT * FROM device_grants WHERE device_id = ?1 ORDER BY role DESC")?;
    for device in &mut devices {
        device.grants = grants.query_map([&device.device_id], grant)?.collect::<Result<_, _>>()?;
    }
    let requests =
        conn.prepare("SELECT * FROM pair_requests ORDER BY created_at, request_id")?.query_map([], request)?.collect::<Result<_, _>>()?;
    let codes = conn.prepare("SELECT * FROM setup_codes ORDER BY created_at, digest")?.query_map([], code)?.collect::<Result<_, _>>()?;
    Ok(DeviceRows { devices, requests, codes })
}

/// Writes rows in their order.
///
/// # Errors
/// A statement failed.
pub fn write(conn: &Connection, writes: &[DeviceWrite]) -> Result<Applied, Failure> {
    for write in writes {
        match write {
            DeviceWrite::Request(request) => put_request(conn, request)?,
            DeviceWrite::NoRequest(id) => drop(execute(conn, "DELETE FROM pair_requests WHERE request_id = ?1", [id])?),
            DeviceWrite::Device(device) => put_device(conn, device)?,
            DeviceWrite::NoDevice(id) => {
                execute(conn, "DELETE FROM device_grants WHERE device_id = ?1", [id])?;
                execute(conn, "DELETE FROM devices WHERE device_id = ?1", [id])?;
            }
            DeviceWrite::Code(code) => put_code(conn, code)?,
            DeviceWrite::NoCode(digest) => drop(execute(conn, "DELETE FROM setup_codes WHERE digest = ?1", [digest])?),
        }
    }
    Ok(Applied::Done)
}

fn put_request(conn: &Connection, request: &PairRequest) -> Result<(), Failure> {
    execute(
        conn,
        "INSERT OR REPLACE INTO pair_requests
           (request_id, device_id, public_key, role, scopes, reason, described, address, state, created_at, expires_at, resolved_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            request.request_id,
            request.device_id,
            request.public_key,
            request.role,
            text_of(request.scopes),
            request.reason,
            json(&request.described)?,
            request.address,
            request.state.name(),
            ms(request.created_at),
            ms(request.expires_at),
            request.resolved_at.map(ms),
        ],
    )?;
    Ok(())
}

fn put_device(conn: &Connection, device: &DeviceRecord) -> Result<(), Failure> {
    execute(
        conn,
        "INSERT OR REPLACE INTO devices (device_id, public_key, described, address, created_at, approved_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            device.device_id,
            device.public_key,
            json(&device.described)?,
            device.address,
            ms(device.created_at),
            ms(device.approved_at),
        ],
    )?;
    execute(conn, "DELETE FROM device_grants WHERE device_id = ?1", [&device.device_id])?;
    for grant in &device.grants {
        execute(
            conn,
            "INSERT INTO device_grants (device_id, role, scopes, digest, claim_until, created_at, rotated_at, revoked_at, last_used_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                device.device_id,
                grant.role,
                text_of(grant.scopes),
                grant.digest,
                grant.claim_until.map(ms),
                ms(grant.created_at),
                grant.rotated_at.map(ms),
                grant.revoked_at.map(ms),
                grant.last_used_at.map(ms),
            ],
        )?;
    }
    Ok(())
}

fn put_code(conn: &Connection, code: &SetupCode) -> Result<(), Failure> {
    execute(
        conn,
        "INSERT OR REPLACE INTO setup_codes (digest, role, scopes, made_by, device_id, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![code.digest, code.role, text_of(code.scopes), code.made_by, code.device_id, ms(code.created_at), ms(code.expires_at)],
    )?;
    Ok(())
}

fn device(row: &Row<'_>) -> rusqlite::Result<DeviceRecord> {
    Ok(DeviceRecord {
        device_id: row.get("device_id")?,
        public_key: row.get("public_key")?,
        described: from_json(row)?,
        address: row.get("address")?,
        created_at: unsigned(row.get("created_at")?),
        approved_at: unsigned(row.get("approved_at")?),
        grants: Vec::new(),
    })
}

fn grant(row: &Row<'_>) -> rusqlite::Result<Grant> {
    Ok(Grant {
        role: role(row)?,
        scopes: scopes(row)?,
        digest: row.get("digest")?,
        claim_until: time(row, "claim_until")?,
        created_at: unsigned(row.get("created_at")?),
        rotated_at: time(row, "rotated_at")?,
        revoked_at: time(row, "revoked_at")?,
        last_used_at: time(row, "last_used_at")?,
    })
}

fn request(row: &Row<'_>) -> rusqlite::Result<PairRequest> {
    let state: String = row.get("state")?;
    Ok(PairRequest {
        request_id: row.get("request_id")?,
        device_id: row.get("device_id")?,
        public_key: row.get("public_key")?,
        role: role(row)?,
        scopes: scopes(row)?,
        reason: row.get("reason")?,
        described: from_json(row)?,
        address: row.get("address")?,
        state: RequestState::parse(&state).ok_or_else(|| unreadable("state", format!("unknown state `{state}`").into()))?,
        created_at: unsigned(row.get("created_at")?),
        expires_at: unsigned(row.get("expires_at")?),
        resolved_at: time(row, "resolved_at")?,
    })
}

fn code(row: &Row<'_>) -> rusqlite::Result<SetupCode> {
    Ok(SetupCode {
        digest: row.get("digest")?,
        role: role(row)?,
        scopes: scopes(row)?,
        made_by: row.get("made_by")?,
        device_id: row.get("device_id")?,
        created_at: unsigned(row.get("created_at")?),
        expires_at: unsigned(row.get("expires_at")?),
    })
}

fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(unsigned))
}

fn role(row: &Row<'_>) -> rusqlite::Result<&'static str> {
    let name: String = row.get("role")?;
    ROLES.into_iter().find(|role| *role == name).ok_or_else(|| unreadable("role", format!("unknown role `{name}`").into()))
}

/// The scopes of a row. A name that this version does not know would be a right that it cannot judge, so the row is refused.
fn scopes(row: &Row<'_>) -> rusqlite::Result<ScopeSet> {
    let text: String = row.get("scopes")?;
    let scopes = ScopeSet::of_names(text.split(' '));
    if text_of(scopes) == text { Ok(scopes) } else { Err(unreadable("scopes", format!("unknown scopes in `{text}`").into())) }
}

fn text_of(scopes: ScopeSet) -> String {
    scopes.names().join(" ")
}

fn json(described: &super::devices::Described) -> Result<String, Failure> {
    serde_json::to_string(described).map_err(|error| Failure::Refused(StoreError::Refused(error.to_string())))
}

fn from_json(row: &Row<'_>) -> rusqlite::Result<super::devices::Described> {
    let text: String = row.get("described")?;
    serde_json::from_str(&text).map_err(|error| unreadable("described", error.into()))
}
