//! Renders `docs/errors.md`, one of the committed contracts: `roost schema export` prints it.

use roost_schema::ErrorCode;
use std::fmt::Write;

/// `docs/errors.md`.
pub fn error_page() -> String {
    let mut page = String::from(
        "# Errors\n\n\
         <!-- Written by `cargo xtask schema` from schema/src/error.rs. -->\n\n\
         Every refusal has a code, the same on every transport: `code` in the problem document of\n\
         REST, `extensions.code` in GraphQL, `error.code` in the acknowledgement of Socket.IO. Beside\n\
         it stands a sentence for people. *Again*: the same request may succeed later; `retryAfterMs`\n\
         says when, and on HTTP the header `Retry-After`. `instance`, on HTTP also the header\n\
         `x-roost-instance`, is the id of the instance that refused: it begins each line of its log.\n\n\
         | code | HTTP | again | meaning |\n\
         |---|---|---|---|\n",
    );
    for code in ErrorCode::ALL {
        let again = if code.is_retryable() { "yes" } else { "no" };
        let _ = writeln!(
            page,
            "| `{}` | {} | {again} | {} |",
            code.as_str(),
            code.http_status(),
            code.meaning().trim()
        );
    }
    page
}
