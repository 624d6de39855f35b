//! Every method: one file each, one line each here. The order is the one shown to clients.

pub mod agent;
pub mod agents;
pub mod chat;
pub mod commands;
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
    Entry::of::<chat::history::History>(),
    Entry::of::<chat::message_get::Get>(),
    Entry::of::<chat::inject::Inject>(),
    Entry::of::<chat::send::Send>(),
    Entry::of::<chat::abort::Abort>(),
    Entry::of::<commands::list::List>(),
    Entry::of::<config::get::Get>(),
    Entry::of::<config::set::Set>(),
    Entry::of::<config::apply::Apply>(),
    Entry::of::<config::patch::Patch>(),
    Entry::of::<config::schema::GetSchema>(),
    Entry::of::<config::lookup::Lookup>(),
    Entry::of::<sessions::list::List>(),
    Entry::of::<sessions::preview::GetPreview>(),
    Entry::of::<sessions::describe::Describe>(),
    Entry::of::<sessions::get::Get>(),
    Entry::of::<sessions::resolve::Resolve>(),
    Entry::of::<sessions::create::Create>(),
    Entry::of::<sessions::patch::Patch>(),
    Entry::of::<sessions::reset::Reset>(),
    Entry::of::<sessions::delete::Delete>(),
    Entry::of::<sessions::compact::Compact>(),
    Entry::of::<sessions::import::Import>(),
    Entry::of::<sessions::subscribe::Subscribe>(),
    Entry::of::<sessions::unsubscribe::Unsubscribe>(),
    Entry::of::<sessions::messages_subscribe::MessagesSubscribe>(),
    Entry::of::<sessions::messages_unsubscribe::MessagesUnsubscribe>(),
];
