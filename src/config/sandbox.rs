//! `agents.*.sandbox` and `agents.*.limits`: how far runs are shut in and what they may use.
//!
//! `mode`, `workspaceAccess` and the rest are the original's keys: `mode` says *which sessions* are isolated. `level` is ours and says *what that means*; without `mode` it holds for all sessions, and `mode` without it means the strictest level.

use super::agent_parts::Switch;
use super::open::Open;
use super::section::{section, words};
use crate::protocol::isolation::Level;

words! {
    /// Which sessions are isolated.
    enum SandboxMode {
        /// None.
        Off,
        /// All but the agent's main one.
        NonMain,
        /// All.
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
        /// Which sessions are isolated; all of them when only `level` is given.
        mode: Option<SandboxMode>,
        /// How far: `off`; `workspace` (Landlock and seccomp: writes only in the workspace and temporary directories, the gateway's state and configuration cannot be seen, no Unix sockets); `strict` (bubblewrap: sees nothing but the workspace and trusted files, processes of its own). `strict` when only `mode` is given. A level that this machine cannot give does not start.
        level: Option<Level>,
        /// Network of isolated runs, without plain HTTP (port 80, where cloud metadata services answer) and the gateway's own port. Default on level `workspace` on, on level `strict` off.
        network: Option<Switch>,
        /// Further files and directories that can be read on level `strict`, absolute or with `~`; what is not there is left out.
        read_only_paths: Vec<String>,
        /// What it sees of the workspace; default `rw`. `none` needs level `strict`.
        workspace_access: Option<WorkspaceAccess>,
        /// Which sessions its tools see.
        #[schemars(extend("x-acts" = false))]
        session_tools_visibility: Option<SessionVisibility>,
        /// What shares one.
        #[schemars(extend("x-acts" = false))]
        scope: Option<SandboxScope>,
        /// Old spelling of scope `session`.
        #[schemars(extend("x-acts" = false))]
        per_session: Option<bool>,
        /// Where its workspaces stand.
        #[schemars(extend("x-acts" = false))]
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

section! {
    /// What a run may use at most. Kept by a control group where the gateway has one of its own (all processes of the run together), else by limits of single processes; the end of a run says which.
    struct Limits {
        /// Memory, bytes. Without a control group it bounds the address space of each process.
        #[schemars(range(min = 16_777_216))]
        memory_bytes: Option<u64>,
        /// Share of one processor, percent; 200 are two of them. Needs a control group.
        #[schemars(range(min = 1, max = 100_000))]
        cpu_percent: Option<u32>,
        /// Processor time of one process, seconds.
        #[schemars(range(min = 1))]
        cpu_seconds: Option<u64>,
        /// Processes and threads. Without a control group it bounds all processes of the user, those that exist already left out, and needs a user other than root.
        #[schemars(range(min = 4))]
        tasks: Option<u64>,
        /// Weight at the disk against other runs. Needs a control group.
        #[schemars(range(min = 1, max = 10_000))]
        io_weight: Option<u32>,
        /// Open files of one process.
        #[schemars(range(min = 16))]
        open_files: Option<u64>,
        /// Largest file, bytes.
        #[schemars(range(min = 4096))]
        file_size_bytes: Option<u64>,
        /// How early the kernel ends its processes when memory is short; 500 when absent, so that they go before the gateway. Less than the gateway's own needs rights that it does not have.
        #[schemars(range(min = 0, max = 1000))]
        oom_score_adj: Option<i32>,
    }
}
