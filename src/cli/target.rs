//! Which gateway a command talks to: the local one through its socket, or a remote one through WebSocket.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use hyper::Uri;
use rustls::ClientConfig;

use super::error::CliError;
use super::identity::{Home, Known};
use crate::config::layers::{FlagLayer, Sources};
use crate::config::paths::Paths;
use crate::transport::tls;

/// Environment variable with the token of a remote gateway.
const TOKEN_ENV: &str = "SKYKOI_GATEWAY_TOKEN";
/// Longest token file.
const MAX_TOKEN_BYTES: u64 = 8192;

/// Options of every command that talks to a gateway.
#[derive(Args, Clone, Debug, Default)]
pub struct TargetArgs {
    /// State directory of the local gateway [default: $SKYKOI_STATE_DIR or ~/.skykoi]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Which gateway", conflicts_with = "url")]
    pub state_dir: Option<PathBuf>,
    /// Talk to a remote gateway: wss://HOST[:PORT][/PATH]
    #[arg(long, global = true, value_name = "URL", help_heading = "Which gateway")]
    pub url: Option<String>,
    /// File that holds the remote gateway's token and nothing else [default: $SKYKOI_GATEWAY_TOKEN]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Which gateway")]
    pub token_file: Option<PathBuf>,
    /// Trust the authorities of this PEM file instead of the system's
    #[arg(long, global = true, value_name = "FILE", help_heading = "Which gateway", conflicts_with = "fingerprint")]
    pub ca: Option<PathBuf>,
    /// Trust exactly the certificate with this SHA-256 fingerprint, whatever name it carries
    #[arg(long, global = true, value_name = "SHA256", help_heading = "Which gateway")]
    pub fingerprint: Option<String>,
    /// PEM file of our own certificate, for a gateway that asks for one
    #[arg(long, global = true, value_name = "FILE", help_heading = "Which gateway", requires = "client_key")]
    pub client_cert: Option<PathBuf>,
    /// PEM file of its private key
    #[arg(long, global = true, value_name = "FILE", help_heading = "Which gateway", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
    /// Refused: other users of this machine can read it in the process list
    #[arg(long, global = true, hide = true, value_name = "TOKEN", allow_hyphen_values = true)]
    pub token: Option<String>,
}

/// Where a gateway is.
#[derive(Clone)]
pub enum Target {
    /// On this machine.
    Local {
        /// Its socket.
        socket: PathBuf,
        /// Its state directory, for texts.
        state_dir: PathBuf,
    },
    /// Somewhere else.
    Remote(Arc<Remote>),
}

/// A remote gateway.
pub struct Remote {
    /// The whole address, for the request and for texts.
    pub url: Uri,
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS settings; absent for `ws://`.
    pub tls: Option<Arc<ClientConfig>>,
    /// The token.
    pub token: Option<String>,
    /// The certificate that is trusted, if only that one is.
    pub fingerprint: Option<String>,
    /// What this machine was given when it was paired with that gateway.
    pub known: Option<Known>,
}

impl TargetArgs {
    /// The gateway that these options mean.
    ///
    /// # Errors
    /// The options contradict each other, or a file they name cannot be used.
    pub fn resolve(&self) -> Result<Target, CliError> {
        refuse_token(self.token.as_deref())?;
        let Some(url) = &self.url else {
            for (given, name) in [
                (self.ca.is_some(), "--ca"),
                (self.fingerprint.is_some(), "--fingerprint"),
                (self.client_cert.is_some(), "--client-cert"),
                (self.token_file.is_some(), "--token-file"),
            ] {
                if given {
                    return Err(CliError::Usage(format!(
                        "{name} is for a remote gateway: add --url wss://HOST (the local one needs no token)"
                    )));
                }
            }
            let sources = Sources::of_process(FlagLayer { state_dir: self.state_dir.clone(), ..FlagLayer::default() });
            let paths = Paths::find(&sources).map_err(|error| CliError::Usage(error.to_string()))?;
            return Ok(Target::Local { socket: paths.socket(), state_dir: paths.state_dir });
        };
        let token = match &self.token_file {
            Some(path) => Some(read_token(path)?),
            None => std::env::var(TOKEN_ENV).ok().filter(|token| !token.is_empty()),
        };
        let mut remote = self.remote(url, token, None)?;
        // A token that somebody names is meant; else this machine comes in as the device that it is there.
        if remote.token.is_none()
            && let Some(known) = Home::find()?.known(&remote.name())?
        {
            remote = self.remote(url, None, Some(known))?;
        }
        Ok(Target::Remote(Arc::new(remote)))
    }

    fn remote(&self, text: &str, token: Option<String>, known: Option<Known>) -> Result<Remote, CliError> {
        let wrong = |why: &str| CliError::Usage(format!("--url: {why}; expected wss://HOST[:PORT][/PATH]"));
        let url: Uri = text.parse().map_err(|_| wrong("not an address"))?;
        let secure = match url.scheme_str() {
            Some("wss") => true,
            Some("ws") => false,
            _ => return Err(wrong("the scheme must be wss or ws")),
        };
        let authority = url.authority().ok_or_else(|| wrong("no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("credentials do not belong into an address; use --token-file"));
        }
        if url.query().is_some() {
            return Err(wrong("a query is not supported, and a token in it would end up in logs; use --token-file"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if !secure && !is_loopback(&host) && (token.is_some() || known.is_some()) {
            return Err(wrong("ws:// to another machine would send the token in the clear; use wss:// or an SSH tunnel"));
        }
        let trusted = self.fingerprint.clone().or_else(|| known.as_ref()?.fingerprint.clone().filter(|_| self.ca.is_none()));
        let fingerprint = match &trusted {
            Some(text) => {
                Some(tls::parse_fingerprint(text).ok_or_else(|| CliError::Usage("--fingerprint: expected 64 hex digits".to_owned()))?)
            }
            None => None,
        };
        if !secure && (fingerprint.is_some() || self.ca.is_some() || self.client_cert.is_some()) {
            return Err(wrong("--ca, --fingerprint and --client-cert need wss"));
        }
        let own = self.client_cert.clone().zip(self.client_key.clone()).map(|(cert, key)| tls::CertFiles { cert, key });
        let tls = if secure {
            Some(tls::client_config(self.ca.as_deref(), fingerprint, own.as_ref()).map_err(|error| CliError::Usage(error.to_string()))?)
        } else {
            None
        };
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Ok(Remote { host, port, tls, token, url, fingerprint: trusted, known })
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl Remote {
    /// The address in one spelling, under which a pairing is kept.
    #[must_use]
    pub fn name(&self) -> String {
        let host = self.host.to_ascii_lowercase();
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        format!("{}://{host}:{}{}", if self.tls.is_some() { "wss" } else { "ws" }, self.port, self.url.path())
    }

    /// Refuses an address at which a token would cross the network in the clear.
    ///
    /// # Errors
    /// It is one.
    pub fn refuse_plaintext(&self) -> Result<(), CliError> {
        if self.tls.is_some() || is_loopback(&self.host) {
            return Ok(());
        }
        Err(CliError::Usage("--url: ws:// to another machine would send the token in the clear; use wss:// or an SSH tunnel".to_owned()))
    }
}

/// A token on the command line can be read by every user of the machine, so it is refused with a text that says what to do instead.
///
/// # Errors
/// There is one.
pub fn refuse_token(token: Option<&str>) -> Result<(), CliError> {
    if token.is_none() {
        return Ok(());
    }
    Err(CliError::Usage(
        "--token is not accepted: every user of this machine can read a command line, and shells keep it in their history.\nPut the token into a file (chmod 600) and name it with --token-file FILE".to_owned(),
    ))
}

fn read_token(path: &std::path::Path) -> Result<String, CliError> {
    use std::io::Read;
    let wrong = |why: String| CliError::Usage(format!("--token-file {}: {why}", path.display()));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
    file.take(MAX_TOKEN_BYTES + 1).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
    let token = text.trim();
    if token.is_empty() || text.len() as u64 > MAX_TOKEN_BYTES || token.contains(char::is_whitespace) {
        return Err(wrong("must hold one token and nothing else".to_owned()));
    }
    Ok(token.to_owned())
}

impl Target {
    /// The gateway in a person's words.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Local { state_dir, .. } => format!("the gateway of {}", state_dir.display()),
            Self::Remote(remote) => remote.url.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(url: &str, token: Option<&str>) -> Result<Remote, String> {
        TargetArgs::default().remote(url, token.map(str::to_owned), None).map_err(|error| error.to_string())
    }

    #[test]
    fn addresses_are_read_with_their_default_ports() {
        for (url, host, port) in [
            ("wss://vm.example.com", "vm.example.com", 443),
            ("wss://vm.example.com:8443/ws", "vm.example.com", 8443),
            ("ws://127.0.0.1:18789", "127.0.0.1", 18789),
            ("ws://[::1]:18789/", "::1", 18789),
        ] {
            let remote = remote(url, Some("t")).unwrap();
            assert_eq!((remote.host.as_str(), remote.port), (host, port), "{url}");
        }
    }

    #[test]
    fn addresses_that_would_give_the_token_away_are_refused() {
        for (url, word) in [
            ("ws://vm.example.com", "in the clear"),
            ("wss://user:pass@vm.example.com", "--token-file"),
            ("wss://vm.example.com/?token=x", "--token-file"),
            ("https://vm.example.com", "scheme"),
            ("vm.example.com", "scheme"),
        ] {
            let error = remote(url, Some("t")).err().unwrap();
            assert!(error.contains(word), "{url}: {error}");
        }
    }

    #[test]
    fn a_token_argument_is_refused_without_repeating_it() {
        let args = TargetArgs { token: Some("very-secret".to_owned()), ..TargetArgs::default() };
        let error = args.resolve().err().unwrap();
        assert!(error.to_string().contains("--token-file") && !error.to_string().contains("very-secret"), "{error}");
    }

    #[test]
    fn a_token_file_holds_one_word() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "skg_abc\n").unwrap();
        assert_eq!(read_token(&path).unwrap(), "skg_abc");
        for content in ["", "  \n", "two words", &"x".repeat(9000)] {
            std::fs::write(&path, content).unwrap();
            assert!(read_token(&path).is_err());
        }
        assert!(read_token(&dir.path().join("absent")).is_err());
    }

    #[test]
    fn options_for_remote_gateways_are_refused_for_the_local_one() {
        let args = TargetArgs { token_file: Some("x".into()), state_dir: Some("/tmp/x".into()), ..TargetArgs::default() };
        assert!(args.resolve().err().unwrap().to_string().contains("--url"));
    }
}
