//! As much of HTTP/1.1 as the fake model needs, written by hand, so that an answer can be cut and split anywhere.

use std::io::{Error, ErrorKind, Result};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::script::{Answer, Fault};
use super::{Seen, State, anthropic, bedrock, gemini, lock, openai, responses, signature};

/// The frames of an answer in one of the languages, and the one that says that it failed.
pub struct Speech {
    pub media_type: &'static str,
    pub frames: Vec<Vec<u8>>,
    pub error: fn(&str, &str) -> Vec<u8>,
}

/// Serves the requests of one connection.
pub async fn serve(stream: TcpStream, state: &State, connection: usize) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(mut seen) = read(&mut stream, connection).await? {
        seen.signature = signature::judge(&seen, &lock(&state.keys));
        lock(&state.seen).push(seen.clone());
        state.came.notify_one();
        let of = format!("{} {}", seen.method, seen.path);
        let route = lock(&state.routes).iter().find(|route| route.of == of).cloned();
        let stream = stream.get_mut();
        if let Some(route) = route {
            let kind = route.kind.map(|kind| ("content-type".to_owned(), kind));
            whole(stream, route.status, kind.as_slice(), &route.body).await?;
            continue;
        }
        match next(state, &seen.text) {
            None => whole(stream, 500, &[], "{\"message\":\"the script is at its end\"}").await?,
            Some(answer) => give(stream, &seen, &answer, state).await?,
        }
    }
    Ok(())
}

/// The first answer of the script that is for this request.
fn next(state: &State, body: &str) -> Option<Answer> {
    let mut answers = lock(&state.answers);
    let fits = |answer: &Answer| answer.when.as_ref().is_none_or(|when| body.contains(when.as_str()));
    let index = answers.iter().position(fits)?;
    if answers[index].keep { answers.get(index).cloned() } else { answers.remove(index) }
}

async fn read(stream: &mut BufReader<TcpStream>, connection: usize) -> Result<Option<Seen>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(Ok(0), |(_, value)| value.parse());
    let mut body = vec![0; length.map_err(Error::other)?];
    stream.read_exact(&mut body).await?;
    let text = String::from_utf8_lossy(&body).into_owned();
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Ok(Some(Seen { method, path, headers, body, text, signature: None, connection }))
}

async fn whole(stream: &mut TcpStream, status: u16, headers: &[(String, String)], body: &str) -> Result<()> {
    let mut head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| name == "content-type") {
        head.push_str("content-type: application/json\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).await
}

async fn give(stream: &mut TcpStream, seen: &Seen, answer: &Answer, state: &State) -> Result<()> {
    tokio::time::sleep(Duration::from_millis(answer.delay_ms)).await;
    let headers: Vec<(String, String)> = answer.headers.clone().into_iter().collect();
    if let Some(status) = answer.status {
        let body = answer.body.as_str().map_or_else(|| answer.body.to_string(), str::to_owned);
        return whole(stream, status, &headers, &body).await;
    }
    // Some programs say more in a query.
    let speech = match seen.path.split('?').next().unwrap_or_default() {
        path if path.ends_with("/messages") => anthropic::speech(answer),
        path if path.ends_with("/chat/completions") => openai::speech(answer),
        path if path.ends_with("/responses") => responses::speech(answer),
        path if path.ends_with("/converse-stream") => bedrock::speech(answer),
        path if path.ends_with("/invoke-with-response-stream") => bedrock::invoked(answer),
        path if path.ends_with(":streamGenerateContent") => gemini::speech(answer, false),
        path if path.ends_with(":generateContent") => gemini::speech(answer, true),
        _ => return whole(stream, 404, &[], "{\"message\":\"nobody speaks here\"}").await,
    };
    let mut head = format!("HTTP/1.1 200 OK\r\ncontent-type: {}\r\ntransfer-encoding: chunked\r\n", speech.media_type);
    for (name, value) in &headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await?;
    let until = if answer.fault.is_some() { answer.after.min(speech.frames.len()) } else { speech.frames.len() };
    for (index, frame) in speech.frames.iter().take(until).enumerate() {
        if answer.hold.contains(&index) {
            state.go_on.0.acquire().await.map_err(Error::other)?.forget();
        }
        tokio::time::sleep(Duration::from_millis(answer.pause_ms)).await;
        if index == 0 {
            lock(&state.spoke).push(Instant::now());
        }
        frame_out(stream, frame, answer.bytes).await?;
    }
    match &answer.fault {
        None | Some(Fault::End) => {}
        Some(Fault::Error(code, text)) => frame_out(stream, &(speech.error)(code, text), answer.bytes).await?,
        Some(Fault::Garbage) => frame_out(stream, b"data: {\"type\":\n\nthis is no frame of any kind\n\n", None).await?,
        Some(Fault::Cut) => return Err(ErrorKind::ConnectionAborted.into()),
        Some(Fault::Stall) => {
            // Until the other side leaves.
            let mut nothing = [0; 1];
            let _ = stream.read(&mut nothing).await?;
            return Err(ErrorKind::ConnectionAborted.into());
        }
    }
    stream.write_all(b"0\r\n\r\n").await
}

async fn frame_out(stream: &mut TcpStream, frame: &[u8], bytes: Option<usize>) -> Result<()> {
    for piece in frame.chunks(bytes.unwrap_or(frame.len()).max(1)) {
        let mut out = format!("{:x}\r\n", piece.len()).into_bytes();
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
        stream.write_all(&out).await?;
        if bytes.is_some() {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}
