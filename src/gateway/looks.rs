//! What sessions look like in lists: the beginnings of their first and newest messages. They are kept in the store; only what is not known there is read from transcripts, and then kept.

use super::Gateway;
use crate::protocol::session::SessionRow;
use crate::store::sessions::{Listed, Looks, SessionRecord};
use crate::transcript::Transcripts;
use crate::transcript::glance::cut;

/// Longest title, in characters.
const TITLE: usize = 60;
/// Longest preview, in characters.
const PREVIEW: usize = 240;
/// How much of a transcript's beginning may hold the title, in bytes.
const HEAD: usize = 8 << 10;
/// How much of its end may hold the preview, in bytes.
const TAIL: usize = 16 << 10;

impl Gateway {
    /// A row with the looks that are asked for and known.
    #[must_use]
    pub fn looked_row(&self, mut listed: Listed, titles: bool, previews: bool) -> SessionRow {
        let known = |text: Option<String>, asked: bool| text.filter(|text| asked && !text.is_empty());
        let (title, preview) = (known(listed.session.title.take(), titles), known(listed.session.preview.take(), previews));
        SessionRow { derived_title: title, last_message_preview: preview, ..self.session_row(listed) }
    }

    /// Fills in the looks that the rows of a page lack.
    pub async fn look_up(&self, rows: &mut [Listed]) {
        let unknown = |session: &SessionRecord| session.title.is_none() || session.preview.is_none();
        let wanted: Vec<_> = rows
            .iter()
            .enumerate()
            .filter(|(_, row)| unknown(&row.session))
            .map(|(n, row)| (n, self.sessions.transcript_path(&row.session), row.session.title.clone()))
            .collect();
        if wanted.is_empty() {
            return;
        }
        let read = self.transcripts.run(move |transcripts| {
            Ok(wanted
                .into_iter()
                .map(|(n, path, title)| (n, title.unwrap_or_else(|| title_of(transcripts, &path)), preview_of(transcripts, &path)))
                .collect::<Vec<_>>())
        });
        for (n, title, preview) in read.await.unwrap_or_default() {
            let Some(Listed { session, .. }) = rows.get_mut(n) else { continue };
            session.title = Some(title.clone());
            session.preview = Some(preview.clone());
            self.store.note_looks(Looks { key: session.key.clone(), session_id: session.entry.session_id.clone(), title, preview });
        }
    }
}

/// A transcript that cannot be read has no looks; whoever opens it hears why.
fn title_of(transcripts: &Transcripts, path: &std::path::Path) -> String {
    let text = transcripts.first_user_text(path, HEAD).ok().flatten().unwrap_or_default();
    cut(&one_line(&text), TITLE)
}

fn preview_of(transcripts: &Transcripts, path: &std::path::Path) -> String {
    let text = transcripts.last_text(path, TAIL).ok().flatten().unwrap_or_default();
    cut(&one_line(&text), PREVIEW)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
