//! What can be done that is worth a record: one table, from which names, documentation and checks derive.

macro_rules! actions {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal),* $(,)?) => {
        /// What was done, or was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action {
            $($(#[doc = $doc])+ $name,)*
        }

        /// Every action with its name in records and what it means.
        pub const ACTIONS: &[(Action, &str, &str)] = &[$((Action::$name, $text, concat!($($doc),+)),)*];

        impl Action {
            /// Its name in records.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

actions! {
    /// A daemon started. Signed; the detail says version and public key.
    Boot = "boot",
    /// A daemon stopped in order. Signed; a chain that ends otherwise belongs to a running daemon, a crash, or somebody who cut it.
    Stop = "stop",
    /// A segment is finished. Signed; always its last record.
    Seal = "audit.seal",
    /// The end of an earlier segment was unfinished or damaged; the record says where and how much. Signed.
    Repair = "audit.repair",
    /// Records that an earlier head names are not there any more. Signed.
    Gap = "audit.gap",
    /// Notes were lost for want of room or space; the detail says how many.
    Lost = "audit.lost",
    /// The oldest segment was deleted, as the bound of segments says. Signed.
    Prune = "audit.prune",
    /// A credential was taken.
    AuthOk = "auth.ok",
    /// A credential was refused. Beyond 100 a minute only counted; the detail of a later record says how many.
    AuthFail = "auth.fail",
    /// An address or credential was locked out.
    AuthLockout = "auth.lockout",
    /// A browser of a foreign origin was refused.
    OriginDenied = "origin.denied",
    /// A device asked to be paired.
    PairRequest = "pair.request",
    /// A pairing was approved.
    PairApprove = "pair.approve",
    /// A pairing was rejected.
    PairReject = "pair.reject",
    /// A pairing expired.
    PairExpire = "pair.expire",
    /// A token or credential was made.
    CredentialNew = "credential.new",
    /// A token or credential was replaced by a new one.
    CredentialRotate = "credential.rotate",
    /// A token or credential was taken back.
    CredentialRevoke = "credential.revoke",
    /// A credential's time was over while it was in use.
    CredentialExpire = "credential.expire",
    /// What a credential or a device may do was changed.
    ScopeChange = "scope.change",
    /// A caller asked for more than its scopes.
    ScopeDenied = "scope.denied",
    /// The configuration in effect changed: hashes before and after, and the changed paths.
    ConfigChange = "config.change",
    /// The configuration file was written by a caller: hashes before and after, and the changed paths.
    ConfigWrite = "config.write",
    /// A run's command, or one that a tool of a run wants to start: allowed and about to start, or denied. Written and synced before it can start.
    Exec = "exec",
    /// A run of a model is about to start. Written and synced before its process gets its task; its commands have records of their own.
    AgentStart = "agent.start",
    /// An approval was asked for.
    ApprovalRequest = "approval.request",
    /// An approval was given or refused.
    ApprovalResolve = "approval.resolve",
    /// Nobody answered in time, or a restart ended the wait.
    ApprovalExpire = "approval.expire",
    /// An approval was used for a run.
    ApprovalUse = "approval.use",
    /// The list of what is allowed was changed.
    PolicyChange = "policy.change",
    /// The end of a run was asked for.
    Abort = "abort",
    /// The daemon entered or left a mode, such as safe mode.
    Mode = "mode",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_described() {
        for (at, (action, name, text)) in ACTIONS.iter().enumerate() {
            assert_eq!(action.name(), *name);
            assert!(text.trim().ends_with('.'), "{name}");
            assert!(ACTIONS[..at].iter().all(|(_, other, _)| other != name), "{name}");
        }
    }
}
