//! Every method: one file each, one line each here. The order is the one shown to clients.

pub mod agent;
pub mod agents;
pub mod channels;
pub mod chat;
pub mod commands;
pub mod config;
pub mod cron;
pub mod device;
pub mod doctor;
pub mod exec;
pub mod logs;
pub mod models;
pub mod node;
pub mod runners;
pub mod runs;
pub mod sessions;
pub mod skills;
pub mod system;
pub mod usage;

use super::method::Entry;

/// The table. `connect` is not in it: it is the handshake, not a call.
pub static METHODS: &[Entry] = &[
    Entry::of::<system::health::Health>(),
    Entry::of::<system::status::Status>(),
    Entry::of::<system::presence::SystemPresence>(),
    Entry::of::<system::event::SystemEvent>(),
    Entry::of::<system::wake::Wake>(),
    Entry::of::<system::heartbeats::LastHeartbeat>(),
    Entry::of::<system::heartbeats::SetHeartbeats>(),
    Entry::of::<doctor::proxy::Proxy>(),
    Entry::of::<logs::tail::Tail>(),
    Entry::of::<agent::run::Run>(),
    Entry::of::<agent::wait::Wait>(),
    Entry::of::<agent::identity_get::IdentityGet>(),
    Entry::of::<agents::list::List>(),
    Entry::of::<agents::create::Create>(),
    Entry::of::<agents::update::Update>(),
    Entry::of::<agents::delete::Delete>(),
    Entry::of::<agents::files::List>(),
    Entry::of::<agents::files::Get>(),
    Entry::of::<agents::files::Set>(),
    Entry::of::<models::list::List>(),
    Entry::of::<runners::list::List>(),
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
    Entry::of::<sessions::usage::Usage>(),
    Entry::of::<usage::status::Status>(),
    Entry::of::<usage::cost::Cost>(),
    Entry::of::<channels::status::Status>(),
    Entry::of::<node::list::List>(),
    Entry::of::<device::pair_list::PairList>(),
    Entry::of::<device::pair_approve::PairApprove>(),
    Entry::of::<device::pair_reject::PairReject>(),
    Entry::of::<device::pair_remove::PairRemove>(),
    Entry::of::<device::pair_setup::PairSetup>(),
    Entry::of::<device::token_rotate::TokenRotate>(),
    Entry::of::<device::token_revoke::TokenRevoke>(),
    Entry::of::<skills::status::Status>(),
    Entry::of::<cron::list::List>(),
    Entry::of::<cron::status::Status>(),
    Entry::of::<exec::approval_request::Request>(),
    Entry::of::<exec::approval_resolve::Resolve>(),
    Entry::of::<exec::approval_get::Get>(),
    Entry::of::<exec::approval_list::List>(),
    Entry::of::<exec::approval_wait::Wait>(),
    Entry::of::<exec::approvals_get::ApprovalsGet>(),
    Entry::of::<exec::approvals_set::ApprovalsSet>(),
];
