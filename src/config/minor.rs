//! Small sections: `ui`, `auth`, `meta`, `wizard`, `update`. Most only describe; they are typed so that a misspelt key is found.

use std::collections::BTreeMap;

use super::section::{section, words};

section! {
    /// Looks of the front end.
    struct Ui {
        /// A colour, six hexadecimal digits.
        #[schemars(extend("x-acts" = false))]
        seam_color: Option<String>,
        /// How the assistant is shown.
        assistant: Option<Assistant>,
    }
}

section! {
    /// How the assistant is shown.
    struct Assistant {
        /// Its name.
        #[schemars(length(max = 50))]
        name: Option<String>,
        /// Its picture.
        #[schemars(length(max = 200))]
        avatar: Option<String>,
    }
}

words! {
    /// What a profile holds.
    enum ProfileMode {
        /// A key.
        #[serde(rename = "api_key")]
        ApiKey,
        /// An OAuth login.
        Oauth,
        /// A token.
        Token,
    }
}

section! {
    /// Logins at providers of models. The secrets themselves stand elsewhere.
    struct ProviderLogins {
        /// The profiles by id.
        profiles: BTreeMap<String, LoginProfile>,
        /// The order in which profiles are tried, per provider.
        order: BTreeMap<String, Vec<String>>,
        /// How long a failing profile rests.
        cooldowns: Option<Cooldowns>,
    }
}

section! {
    /// One login.
    struct LoginProfile {
        /// The provider.
        provider: Option<String>,
        /// What it holds.
        mode: Option<ProfileMode>,
        /// Whose it is.
        email: Option<String>,
    }
}

section! {
    /// How long a failing login rests, hours.
    struct Cooldowns {
        /// After a billing error.
        billing_backoff_hours: Option<f64>,
        /// The same per provider.
        billing_backoff_hours_by_provider: BTreeMap<String, f64>,
        /// At most.
        billing_max_hours: Option<f64>,
        /// Failures further apart do not add up.
        failure_window_hours: Option<f64>,
    }
}

section! {
    /// Who wrote the file last.
    struct Meta {
        /// The version that wrote it.
        last_touched_version: Option<String>,
        /// When.
        last_touched_at: Option<String>,
    }
}

words! {
    /// How the wizard ran.
    enum WizardMode {
        /// For this machine.
        Local,
        /// For a gateway elsewhere.
        Remote,
    }
}

section! {
    /// When the set-up wizard ran last.
    struct Wizard {
        /// When.
        last_run_at: Option<String>,
        /// Its version.
        last_run_version: Option<String>,
        /// Its commit.
        last_run_commit: Option<String>,
        /// Its command.
        last_run_command: Option<String>,
        /// How.
        last_run_mode: Option<WizardMode>,
    }
}

words! {
    /// Which versions are offered.
    enum UpdateChannel {
        /// Releases.
        Stable,
        /// Releases to come.
        Beta,
        /// Every commit.
        Dev,
    }
}

section! {
    /// Updates.
    struct Update {
        /// Which versions are offered.
        channel: Option<UpdateChannel>,
        /// Looks for one at start.
        check_on_start: Option<bool>,
    }
}
