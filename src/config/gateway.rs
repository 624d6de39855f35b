//! Section `gateway`: where the daemon listens, whom it lets in, how it reloads.

use super::http::Http;
use super::limits::Limits;
use super::login::Auth;
use super::open::Open;
use super::pairing::Pairing;
use super::secret::Secret;
use super::section::{section, words};

words! {
    /// Whether a gateway runs here.
    enum GatewayMode {
        /// The gateway runs on this machine; anything else refuses to start.
        Local,
        /// This machine only talks to a gateway elsewhere.
        Remote,
    }
}

words! {
    /// Which addresses the TCP listener takes. A bind that fails is an error, never a wider bind.
    enum Bind {
        /// The same as `loopback`.
        Auto,
        /// All addresses of the machine; needs TLS or the explicit plaintext flag.
        Lan,
        /// 127.0.0.1 and ::1.
        Loopback,
        /// The address in `gateway.customBindHost`.
        Custom,
        /// Known, but refused at start: name the address with `custom`.
        Tailnet,
    }
}

words! {
    /// What a changed config file does to a running gateway.
    enum ReloadMode {
        /// Nothing.
        Off,
        /// Every change restarts the gateway.
        Restart,
        /// Only what can change in flight is taken; the rest is logged and waits.
        Hot,
        /// In flight where possible, else a restart.
        Hybrid,
    }
}

words! {
    /// Exposure by Tailscale.
    enum TailscaleMode {
        /// None.
        Off,
        /// Known, but refused at start.
        Serve,
        /// Known, but refused at start.
        Funnel,
    }
}

words! {
    /// How a client reaches a remote gateway.
    enum RemoteTransport {
        /// Through an SSH tunnel.
        Ssh,
        /// Straight to the URL.
        Direct,
    }
}

section! {
    /// The daemon's network side.
    struct Gateway {
        /// TCP port; 0 takes any free port and prints it. Flag `--port`, environment `SKYKOI_GATEWAY_PORT`.
        port: u16 = 18789,
        /// Must be `local` for the gateway to start; a missing value refuses to start, so that an empty file never opens a port.
        mode: Option<GatewayMode>,
        /// Which addresses are listened on. Flag `--bind` (also takes an address), environment `SKYKOI_GATEWAY_BIND`.
        bind: Bind = Bind::Loopback,
        /// The IP address to listen on when `bind` is `custom`.
        custom_bind_host: Option<String>,
        /// Own public origins such as `https://koi.example.com`: their hosts are valid in `Host`, the origins themselves in `Origin`.
        public_urls: Vec<String>,
        /// Addresses or networks (CIDR) of reverse proxies whose forwarded-for header is believed.
        trusted_proxies: Vec<String>,
        /// Permits listening on an address other than loopback without TLS. Tokens then cross the network in clear.
        dangerously_allow_plaintext: bool = false,
        /// Who may connect.
        auth: Auth,
        /// Devices that come in by their own key, approved one by one.
        pairing: Pairing,
        /// The web console.
        control_ui: ControlUi,
        /// TLS of the TCP listener.
        tls: Tls,
        /// What happens when the file changes under a running gateway.
        reload: Reload,
        /// Bounds of connections, frames and calls.
        limits: Limits,
        /// Exposure by Tailscale; only `off` starts.
        #[schemars(extend("x-acts" = false))]
        tailscale: Option<Tailscale>,
        /// For clients of a gateway on another machine.
        #[schemars(extend("x-reload" = "none", "x-acts" = false))]
        remote: Option<Remote>,
        /// HTTP endpoints beside the WebSocket.
        #[schemars(extend("x-acts" = false))]
        http: Option<Http>,
        /// Attached node devices.
        #[schemars(extend("x-acts" = false))]
        nodes: Option<Nodes>,
    }
}

section! {
    /// The web console.
    struct ControlUi {
        /// Serves the console.
        #[schemars(extend("x-acts" = false))]
        enabled: bool = true,
        /// Path prefix of the console, for example `/console`.
        #[schemars(extend("x-acts" = false))]
        base_path: Option<String>,
        /// Directory with the console's files instead of the built-in ones.
        #[schemars(extend("x-acts" = false))]
        root: Option<String>,
        /// Browser origins that may connect besides the own ones: scheme, host and port, no wildcard.
        allowed_origins: Vec<String>,
        /// Only `false` starts: a console over plain HTTP would have no device identity.
        allow_insecure_auth: bool = false,
        /// Only `false` starts: device identity cannot be switched off.
        dangerously_disable_device_auth: bool = false,
    }
}

section! {
    /// TLS 1.3 of the TCP listener.
    struct Tls {
        /// Serves `wss://` instead of `ws://`.
        enabled: bool = false,
        /// Makes a self-signed certificate when there is none.
        auto_generate: bool = true,
        /// PEM file of the certificate chain; default `<state>/gateway/tls/gateway-cert.pem`.
        cert_path: Option<String>,
        /// PEM file of the private key; default `<state>/gateway/tls/gateway-key.pem`.
        key_path: Option<String>,
        /// PEM file of authorities. When given, every client must show a certificate of one of them, beside its credential.
        ca_path: Option<String>,
    }
}

section! {
    /// What happens when the file changes.
    struct Reload {
        /// Which changes are taken.
        mode: ReloadMode = ReloadMode::Hybrid,
        /// Quiet time after the last change before it is read, ms.
        #[schemars(range(max = 60_000))]
        debounce_ms: u64 = 300,
    }
}

section! {
    /// Exposure by Tailscale.
    struct Tailscale {
        /// Only `off` starts.
        mode: Option<TailscaleMode>,
        /// Undo the exposure at exit.
        reset_on_exit: Option<bool>,
    }
}

section! {
    /// For clients of a gateway on another machine.
    struct Remote {
        /// The gateway's URL.
        url: Option<String>,
        /// How it is reached.
        transport: Option<RemoteTransport>,
        /// Its token.
        token: Option<Secret<String>>,
        /// Its password.
        password: Option<Secret<String>>,
        /// SHA-256 of its certificate.
        tls_fingerprint: Option<String>,
        /// Where the SSH tunnel ends.
        ssh_target: Option<String>,
        /// Key file for the SSH tunnel.
        ssh_identity: Option<String>,
    }
}

section! {
    /// Attached node devices.
    struct Nodes {
        /// Browser control through a node.
        browser: Option<Open>,
        /// Commands that nodes may offer beyond the defaults.
        allow_commands: Vec<String>,
        /// Commands that are never passed on; wins over `allowCommands`.
        deny_commands: Vec<String>,
    }
}
