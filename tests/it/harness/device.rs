//! A client with a key of its own, as existing clients sign: it proves itself with each connection's nonce.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use skykoi_gateway::auth::device::device_id;

use super::client::{Client, connect_params};
use super::gateway::{Gateway, merge};

/// A device.
pub struct Device {
    /// Its key pair.
    pub pair: Ed25519KeyPair,
    /// Its id.
    pub id: String,
}

/// Which text it signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    V2,
    V3,
}

impl Device {
    /// The device of this seed.
    pub fn new(seed: [u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let id = device_id(&pair.public_key().as_ref().try_into().unwrap());
        Self { pair, id }
    }

    /// A device that nobody has seen.
    pub fn random() -> Self {
        let (one, two) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        Self::new([*one.as_bytes(), *two.as_bytes()].concat().try_into().unwrap())
    }

    /// `connect` parameters of a client without a credential, `patch` merged in, signed for this nonce.
    pub fn params(&self, nonce: &str, patch: &Value) -> Value {
        self.signed(nonce, patch, Form::V2, 1_700_000_000_000)
    }

    /// As [`Self::params`], in this form and with this time.
    pub fn signed(&self, nonce: &str, patch: &Value, form: Form, signed_at: u64) -> Value {
        let mut params = connect_params();
        params.as_object_mut().unwrap().remove("auth");
        params.as_object_mut().unwrap().remove("scopes");
        merge(&mut params, patch);
        let text = |path: &str| params.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let scopes: Vec<&str> = params["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let token = ["/auth/token", "/auth/deviceToken", "/auth/bootstrapToken"].map(text).into_iter().find(|token| !token.is_empty());
        let common = format!(
            "{}|{}|{}|{}|{}|{signed_at}|{}|{nonce}",
            self.id,
            text("/client/id"),
            text("/client/mode"),
            text("/role"),
            scopes.join(","),
            token.unwrap_or_default()
        );
        let signed = match form {
            Form::V2 => format!("v2|{common}"),
            Form::V3 => format!("v3|{common}|{}|{}", text("/client/platform"), text("/client/deviceFamily").to_lowercase()),
        };
        params["device"] = json!({
            "id": self.id,
            "publicKey": URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref()),
            "signature": URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes())),
            "signedAt": signed_at,
            "nonce": nonce,
        });
        params
    }

    /// Connects with `patch` in the parameters; the error is the whole `res` frame, and the connection was closed with 1008.
    pub async fn connect(&self, gateway: &Gateway, patch: &Value) -> Result<Client, Value> {
        self.connect_from([127, 0, 0, 1], gateway, patch).await
    }

    /// As [`Self::connect`], from this address.
    pub async fn connect_from(&self, source: [u8; 4], gateway: &Gateway, patch: &Value) -> Result<Client, Value> {
        let mut client = Client::open_from(source, gateway.port(), &[]).await;
        let nonce = nonce(&mut client).await;
        match client.hello(self.params(&nonce, patch)).await {
            Ok(()) => Ok(client),
            Err(refused) => {
                assert_eq!(client.until_closed().await.code, Some(1008));
                Err(refused)
            }
        }
    }

    /// Asks to be paired; gives the request's id.
    pub async fn ask(&self, gateway: &Gateway, patch: &Value) -> String {
        let refused = self.connect(gateway, patch).await.err().expect("it was let in");
        assert_eq!(refused["error"]["code"], "NOT_PAIRED", "{refused}");
        refused["error"]["details"]["requestId"].as_str().unwrap_or_else(|| panic!("{refused}")).to_owned()
    }

    /// Asks for these scopes, is approved by the owner, and fetches its token.
    pub async fn pair(&self, gateway: &Gateway, scopes: &[&str]) -> (Client, String) {
        let wanted = json!({ "scopes": scopes });
        let request = self.ask(gateway, &wanted).await;
        Client::local(gateway).await.ok("device.pair.approve", json!({ "requestId": request })).await;
        let client = self.connect(gateway, &wanted).await.unwrap();
        let token = client.hello["auth"]["deviceToken"].as_str().unwrap().to_owned();
        (client, token)
    }

    /// Connects with its token and these scopes.
    pub async fn with_token(&self, gateway: &Gateway, token: &str, scopes: &[&str]) -> Result<Client, Value> {
        self.connect(gateway, &json!({ "scopes": scopes, "auth": { "deviceToken": token } })).await
    }
}

/// The nonce of the challenge that the client has read or reads now.
pub async fn nonce(client: &mut Client) -> String {
    client.until("the challenge", |client| !client.events.is_empty()).await;
    client.events[0]["payload"]["nonce"].as_str().unwrap().to_owned()
}
