//! Section `approvals`: how long a person is waited for, how many must agree, and where prompts are forwarded to.

use super::open::OpenList;
use super::section::{section, words};

section! {
    /// Approvals of commands. Whether anybody is asked stands in `exec.ask`; what runs without asking, in `exec-approvals.json`.
    struct Approvals {
        /// Approvals of shell commands.
        exec: ExecApprovals,
    }
}

words! {
    /// What is done when nobody is connected who may decide.
    enum WithoutApprover {
        /// The command is refused at once.
        Deny,
        /// Somebody is waited for, as long as an approval waits.
        Wait,
    }
}

words! {
    /// Where prompts are forwarded to.
    enum ForwardMode {
        /// To the session that asks.
        Session,
        /// To the targets.
        Targets,
        /// To both.
        Both,
    }
}

section! {
    /// Approvals of shell commands.
    struct ExecApprovals {
        /// How long an approval waits, ms.
        #[schemars(range(min = 1000, max = 86_400_000))]
        timeout_ms: u64 = 120_000,
        /// How many different approvers must allow a command. One refusal is always enough.
        #[schemars(range(min = 1, max = 16))]
        approvers: u32 = 1,
        /// What is done when nobody is connected who may decide.
        without_approver: WithoutApprover = WithoutApprover::Deny,
        /// Forwards prompts to channels.
        #[schemars(extend("x-acts" = false))]
        enabled: Option<bool>,
        /// Where they are forwarded to.
        #[schemars(extend("x-acts" = false))]
        mode: Option<ForwardMode>,
        /// Only those of these agents.
        #[schemars(extend("x-acts" = false))]
        agent_filter: Option<Vec<String>>,
        /// Only those of sessions with one of these in their key.
        #[schemars(extend("x-acts" = false))]
        session_filter: Option<Vec<String>>,
        /// The channels.
        #[schemars(extend("x-acts" = false))]
        targets: Option<OpenList>,
    }
}
