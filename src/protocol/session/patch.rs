//! What `sessions.patch` may change.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

/// Declares the changes: each may be absent (left as it is), null (cleared) or a text.
macro_rules! patch {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// Change what is kept of a session, which is made if it is not there. A field that is absent stays, null clears it; levels that are `off` by nature are cleared by `off` too.
        #[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct PatchParams {
            /// The session, in any form.
            #[schemars(length(min = 1, max = 512))]
            pub key: String,
            $($(#[$doc])* #[serde(default, deserialize_with = "given")] #[schemars(with = "Option<String>")] pub $field: Option<Option<String>>,)*
        }
    };
}

patch! {
    /// A name of at most 64 characters that no other session has.
    label,
    /// `off`, `minimal`, `low`, `medium`, `high`, or `xhigh` for models that know it.
    thinking_level,
    /// `on`, `off` or `full`.
    verbose_level,
    /// `on`, `off` or `stream`.
    reasoning_level,
    /// `off`, `tokens` or `full`; `on` means `tokens`.
    response_usage,
    /// `on`, `off`, `ask` or `full`; `off` is kept, so that it wins over a default.
    elevated_level,
    /// `sandbox`, `gateway` or `node`.
    exec_host,
    /// `deny`, `allowlist` or `full`.
    exec_security,
    /// `off`, `on-miss` or `always`.
    exec_ask,
    /// The node that runs commands.
    exec_node,
    /// A model, `provider/model`, its alias or its name alone; `agents.defaults.models` says which are allowed.
    model,
    /// The session that started this one; can be set once, on a session of a sub-agent.
    spawned_by,
    /// `allow` or `deny`, whatever the rules say.
    send_policy,
    /// `mention` or `always`.
    group_activation,
}

/// A field that is there, whatever it holds.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
