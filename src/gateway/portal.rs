//! Users of a portal: where each is at home, and that their requests are accepted one after the other.

use std::hash::{DefaultHasher, Hash, Hasher};

use ring::digest::{SHA256, digest};
use tokio::sync::{Mutex, MutexGuard};

use super::Gateway;
use crate::auth::credential::CredentialId;
use crate::protocol::ids::{AgentId, SessionKey};

/// Hex digits of a user's hash in names: half of it, which nobody can make collide.
const DIGITS: usize = 32;
/// Locks under which requests of users are accepted; those of one user always meet at the same.
const LOCKS: usize = 64;

/// Where a user of a portal is at home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// The agent that works for the user.
    pub agent: AgentId,
    /// The user's only session.
    pub session: SessionKey,
    /// The user's directory, beneath the workspace of the agent.
    pub directory: String,
}

impl Home {
    /// The home of who comes with this credential: a user of a portal, or a token that is confined. The name itself never becomes a part of a path or a key.
    #[must_use]
    pub fn of(gateway: &Gateway, credential: &CredentialId) -> Option<Self> {
        let (kind, folder, name) = match credential {
            CredentialId::User(user) => ("user", "users", user),
            CredentialId::Named(name) => ("token", "tokens", name),
            CredentialId::Local | CredentialId::Shared | CredentialId::Device(..) => return None,
        };
        let loaded = gateway.loaded();
        let configured = loaded.config.gateway.auth.jwt.as_ref().and_then(|jwt| jwt.agent.as_deref());
        let agent = configured.map_or_else(|| gateway.agents().default_id().clone(), |id| AgentId(id.to_lowercase()));
        let hex: String = digest(&SHA256, name.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let slug = hex.get(..DIGITS).unwrap_or(&hex);
        Some(Self { session: SessionKey(format!("agent:{agent}:{kind}:{slug}")), directory: format!("{folder}/{slug}"), agent })
    }
}

/// Lets one request of a user after the other be accepted.
#[derive(Debug)]
pub struct Turnstile(Vec<Mutex<()>>);

impl Default for Turnstile {
    fn default() -> Self {
        Self((0..LOCKS).map(|_| Mutex::new(())).collect())
    }
}

impl Turnstile {
    /// Waits until no other request of this session is being accepted.
    pub async fn pass(&self, session: &SessionKey) -> Option<MutexGuard<'_, ()>> {
        let mut hasher = DefaultHasher::new();
        session.as_str().hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or(0);
        match self.0.get(place) {
            Some(lock) => Some(lock.lock().await),
            None => None,
        }
    }
}
