//! A relay in front of a gateway that changes what the gateway says: a server that is wrong in exactly one way.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What goes from the server to its client.
#[derive(Clone, Debug)]
pub enum Down {
    /// A frame of the protocol.
    Text(Value),
    /// Any other text.
    Raw(String),
    /// A close frame.
    Close(u16, String),
    /// The end of the connection.
    End,
}

/// What the client gets instead. The list is the liar's memory, over all connections.
pub type Lie = fn(&mut Vec<Down>, Down) -> Vec<Down>;

/// Serves one connection after the other.
pub async fn relay(listener: &TcpListener, port: u16, lie: Lie) {
    let mut memory = Vec::new();
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let ((mut near_in, near_out), (far_in, mut far_out)) = (near.into_split(), far.into_split());
        let asked = String::from_utf8(head(&mut near_in).await).unwrap();
        let own = listener.local_addr().unwrap().to_string();
        let _ = far_out.write_all(asked.replace(&own, &format!("127.0.0.1:{port}")).as_bytes()).await;
        // The client's own frames pass as they are.
        tokio::select! {
            _ = tokio::io::copy(&mut near_in, &mut far_out) => {}
            () = down(far_in, near_out, &mut memory, lie) => {}
        }
    }
}

async fn down(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, memory: &mut Vec<Down>, lie: Lie) {
    let _ = to.write_all(&head(&mut from).await).await;
    while let Some((first, payload)) = read(&mut from).await {
        let said = match first {
            0x81 => Down::Text(serde_json::from_slice(&payload).unwrap()),
            0x88 => Down::Close(u16::from_be_bytes([payload[0], payload[1]]), String::from_utf8(payload[2..].to_vec()).unwrap()),
            _ => continue,
        };
        for told in lie(memory, said) {
            let frame = match told {
                Down::Text(frame) => unmasked(0x81, frame.to_string().as_bytes()),
                Down::Raw(text) => unmasked(0x81, text.as_bytes()),
                Down::Close(code, reason) => unmasked(0x88, &[&code.to_be_bytes()[..], reason.as_bytes()].concat()),
                Down::End => return,
            };
            let _ = to.write_all(&frame).await;
        }
    }
    // A connection that the gateway has ended may be one that the liar keeps open.
    std::future::pending().await
}

/// A head of HTTP, or as much of it as came.
async fn head(from: &mut OwnedReadHalf) -> Vec<u8> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = from.read_u8().await else { break };
        head.push(byte);
    }
    head
}

async fn read(from: &mut OwnedReadHalf) -> Option<(u8, Vec<u8>)> {
    let first = from.read_u8().await.ok()?;
    let length = match from.read_u8().await.ok()? {
        126 => usize::from(from.read_u16().await.ok()?),
        127 => usize::try_from(from.read_u64().await.ok()?).unwrap(),
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await.ok()?;
    Some((first, payload))
}

fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut frame = vec![first];
    match u16::try_from(length) {
        Ok(short @ 0..126) => frame.push(u8::try_from(short).unwrap()),
        Ok(medium) => frame.extend([&[126][..], &medium.to_be_bytes()].concat()),
        Err(_) => frame.extend([&[127][..], &(length as u64).to_be_bytes()].concat()),
    }
    frame.extend(payload);
    frame
}
