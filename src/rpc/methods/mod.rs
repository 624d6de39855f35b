//! Every method: one file each, one line each here. The order is the one shown to clients.

pub mod agent;
pub mod agents;
pub mod chat;
pub mod config;
pub mod models;
pub mod runs;
pub mod sessions;
pub mod system;

use super::method::Entry;

/// The table. `connect` is not in it: it is the handshake, not a call.
pub static METHODS: &[Entry] = &[
    Entry::of::<system::health::Health>(),
    Entry::of::<system::status::Status>(),
    Entry::of::<system::presence::SystemPresence>(),
    Entry::of::<agent::run::Run>(),
    Entry::of::<agent::wait::Wait>(),
    Entry::of::<agent::identity_get::IdentityGet>(),
    Entry::of::<agents::list::List>(),
    Entry::of::<models::list::List>(),
    Entry::of::<runs::list::List>(),
    Entry::of::<runs::get::Get>(),
    Entry::of::<runs::subscribe::Subscribe>(),
    Entry::of::<runs::unsubscribe::Unsubscribe>(),
    Entry::of::<runs::abort::Abort>(),
    Entry::of::<chat::abort::Abort>(),
    Entry::of::<config::get::Get>(),
    Entry::of::<config::set::Set>(),
    Entry::of::<config::apply::Apply>(),
    Entry::of::<config::patch::Patch>(),
    Entry::of::<config::schema::GetSchema>(),
    Entry::of::<config::lookup::Lookup>(),
    Entry::of::<sessions::list::List>(),
];
