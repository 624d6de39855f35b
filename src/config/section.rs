//! The macro that declares one closed object of the config: fields, documentation and default stand on one line each.
//!
//! A default that lives beside its key cannot drift from the reference, the schema or the code that reads it.

/// Declares a closed object: camelCase keys, unknown keys refused, every key optional.
///
/// `name: Type = default` gives the default; without one it is the type's own. The first `///` of a field becomes the key's description in the schema.
macro_rules! section {
    (@default) => { Default::default() };
    (@default $value:expr) => { $value };
    ($(#[$meta:meta])* struct $name:ident { $($(#[$inner:meta])* $field:ident: $kind:ty $(= $value:expr)?),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
        pub struct $name {
            $($(#[$inner])* pub $field: $kind,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $crate::config::section::section!(@default $($value)?),)* }
            }
        }
    };
}

/// Declares a closed set of words, written in kebab-case unless a variant says otherwise.
macro_rules! words {
    ($(#[$meta:meta])* enum $name:ident { $($(#[$inner:meta])* $variant:ident),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name {
            $($(#[$inner])* $variant,)*
        }

        impl $name {
            /// The word as it stands in the file.
            #[must_use]
            pub fn name(self) -> String {
                serde_json::to_value(self).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
            }
        }
    };
}

pub(crate) use section;
pub(crate) use words;
