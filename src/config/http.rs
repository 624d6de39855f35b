//! `gateway.http`: HTTP endpoints of the original beside the WebSocket. Typed, so that a misspelt key is still found.

use super::section::section;

section! {
    /// HTTP endpoints beside the WebSocket.
    struct Http {
        /// One block per endpoint.
        endpoints: Endpoints,
    }
}

section! {
    /// One block per endpoint.
    struct Endpoints {
        /// `POST /v1/chat/completions`.
        chat_completions: ChatCompletions,
        /// `POST /v1/responses`.
        responses: Responses,
    }
}

section! {
    /// `POST /v1/chat/completions`.
    struct ChatCompletions {
        /// Serves it.
        enabled: bool = false,
    }
}

section! {
    /// `POST /v1/responses`.
    struct Responses {
        /// Serves it.
        enabled: bool = false,
        /// Largest body, bytes.
        #[schemars(range(min = 1))]
        max_body_bytes: u64 = 20 << 20,
        /// Attached files.
        files: Files,
        /// Attached images.
        images: Images,
    }
}

section! {
    /// Attached files.
    struct Files {
        /// Fetches files named by URL.
        allow_url: bool = true,
        /// MIME types that are taken.
        allowed_mimes: Option<Vec<String>>,
        /// Largest file, bytes.
        #[schemars(range(min = 1))]
        max_bytes: u64 = 5 << 20,
        /// Most characters taken from a file.
        #[schemars(range(min = 1))]
        max_chars: u64 = 200_000,
        /// Most redirects followed.
        max_redirects: u32 = 3,
        /// Time for a fetch, ms.
        #[schemars(range(min = 1))]
        timeout_ms: u64 = 10_000,
        /// PDF files.
        pdf: Pdf,
    }
}

section! {
    /// PDF files.
    struct Pdf {
        /// Most pages read.
        #[schemars(range(min = 1))]
        max_pages: u32 = 4,
        /// Most pixels per rendered page.
        #[schemars(range(min = 1))]
        max_pixels: u64 = 4_000_000,
        /// Below this many characters of text the page is rendered.
        min_text_chars: u32 = 200,
    }
}

section! {
    /// Attached images.
    struct Images {
        /// Fetches images named by URL.
        allow_url: bool = true,
        /// MIME types that are taken.
        allowed_mimes: Option<Vec<String>>,
        /// Largest image, bytes.
        #[schemars(range(min = 1))]
        max_bytes: u64 = 10 << 20,
        /// Most redirects followed.
        max_redirects: u32 = 3,
        /// Time for a fetch, ms.
        #[schemars(range(min = 1))]
        timeout_ms: u64 = 10_000,
    }
}
