//! `agents.*.sandbox`: isolation of processes as the original has it. Only mode `off` starts, since this version has none and must not pretend.

use super::open::Open;
use super::section::{section, words};

words! {
    /// Which sessions are isolated.
    enum SandboxMode {
        /// None.
        Off,
        /// All but the main one; refused at start.
        NonMain,
        /// All; refused at start.
        All,
    }
}

words! {
    /// What the sandbox sees of the workspace.
    enum WorkspaceAccess {
        /// Nothing.
        None,
        /// It can read.
        Ro,
        /// It can read and write.
        Rw,
    }
}

words! {
    /// What shares a sandbox.
    enum SandboxScope {
        /// One per session.
        Session,
        /// One per agent.
        Agent,
        /// One for all.
        Shared,
    }
}

words! {
    /// Which sessions its tools see.
    enum SessionVisibility {
        /// Those it started.
        Spawned,
        /// All.
        All,
    }
}

section! {
    /// Isolation of processes.
    struct Sandbox {
        /// Only `off` starts.
        mode: Option<SandboxMode>,
        /// What it sees of the workspace.
        workspace_access: Option<WorkspaceAccess>,
        /// Which sessions its tools see.
        session_tools_visibility: Option<SessionVisibility>,
        /// What shares one.
        scope: Option<SandboxScope>,
        /// Old spelling of scope `session`.
        per_session: Option<bool>,
        /// Where its workspaces stand.
        workspace_root: Option<String>,
        /// The container.
        #[schemars(extend("x-acts" = false))]
        docker: Option<Open>,
        /// A browser in it.
        #[schemars(extend("x-acts" = false))]
        browser: Option<Open>,
        /// When it is removed.
        #[schemars(extend("x-acts" = false))]
        prune: Option<Open>,
    }
}
