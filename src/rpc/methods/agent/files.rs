//! Takes the attachments of a request in: decoded, checked and written down, off the threads that serve connections.

use crate::chat::attachments::{Attachment, Limits, decode};
use crate::protocol::error::RpcError;
use crate::rpc::call::Call;
use crate::runs::spec::Attached;
use crate::transcript::error::TranscriptError;

/// Writes the attachments down and says where. In the request their contents are replaced by their digests, so that it stays short and the same file sent again in another spelling is the same request.
///
/// # Errors
/// An attachment is not acceptable, or cannot be written.
pub async fn take(cx: &Call, attachments: &mut Option<Vec<Attachment>>) -> Result<Vec<Attached>, RpcError> {
    let Some(sent) = attachments.take().filter(|sent| !sent.is_empty()) else { return Ok(Vec::new()) };
    let limits = Limits::of_payload(cx.gateway.loaded().config.gateway.limits.max_payload);
    let (media, now) = (cx.gateway.media.clone(), cx.gateway.now());
    let work = move || -> Result<_, RpcError> {
        let decoded = decode(&sent, limits).map_err(|refusal| RpcError::invalid(refusal.to_string()).with_code("ATTACHMENT_NOT_TAKEN"))?;
        let kept: Result<Vec<_>, _> = decoded.iter().map(|file| media.keep(file, now)).collect();
        let kept = kept.map_err(unstored)?;
        let named = sent.into_iter().zip(decoded).map(|(sent, file)| Attachment { content: Some(file.sha256), ..sent });
        Ok((named.collect(), kept))
    };
    let done = tokio::task::spawn_blocking(work).await;
    let (named, kept) = done.map_err(|lost| RpcError::unavailable("the attachments could not be read", lost))??;
    *attachments = Some(named);
    Ok(kept)
}

fn unstored(error: TranscriptError) -> RpcError {
    let why = if error.is_full() { ": the disk is full" } else { "" };
    RpcError::unavailable(format!("the attachments could not be stored{why}"), error).with_code("STORE_UNAVAILABLE")
}
