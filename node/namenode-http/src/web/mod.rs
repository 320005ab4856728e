//! The page of the whole cluster. It is made of files that are part of the program, and lives by `/api`.

use hathi_net::http::pages::File;
use hathi_net::http::{HttpResponse, RequestHead};

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The page itself.
const PAGE: File = File {
    path: "/",
    content_type: "text/html; charset=utf-8",
    text: include_str!("index.html"),
};

/// What it loads.
const FILES: [File; 8] = [
    File {
        path: "/web/page.css",
        content_type: "text/css; charset=utf-8",
        text: include_str!("page.css"),
    },
    File {
        path: "/web/icon.svg",
        content_type: "image/svg+xml",
        text: include_str!("icon.svg"),
    },
    script("/web/page.js", include_str!("page.js")),
    script("/web/dom.js", include_str!("dom.js")),
    script("/web/words.js", include_str!("words.js")),
    script("/web/states.js", include_str!("states.js")),
    script("/web/charts.js", include_str!("charts.js")),
    script("/web/files.js", include_str!("files.js")),
];

const fn script(path: &'static str, text: &'static str) -> File {
    File {
        path,
        content_type: SCRIPT,
        text,
    }
}

/// Answers a request for the page or one of its files. `None` for all others.
#[must_use]
pub fn respond(head: &RequestHead) -> Option<HttpResponse> {
    let file = match head.path.as_str() {
        "/" | "/index.html" | "/dfshealth.html" | "/explorer.html" => &PAGE,
        path => FILES.iter().find(|file| file.path == path)?,
    };
    Some(file.respond(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the page may weigh in all, in bytes.
    const WEIGHT_MAX: usize = 100_000;

    #[test]
    fn all_is_here_and_small_and_no_data_becomes_markup() {
        let weight: usize = FILES.iter().map(|file| file.text.len()).sum();
        assert!(weight + PAGE.text.len() <= WEIGHT_MAX);
        let known = |path: &str| FILES.iter().any(|file| file.path == path);
        for loaded in ["/web/page.css", "/web/icon.svg", "/web/page.js"] {
            assert!(
                PAGE.text.contains(&format!("\"{loaded}\"")) && known(loaded),
                "{loaded}"
            );
        }
        for file in FILES.iter().filter(|file| file.content_type == SCRIPT) {
            for import in file.text.split(" from \"./").skip(1) {
                let name = import.split('"').next().unwrap();
                assert!(known(&format!("/web/{name}")), "{name} in {}", file.path);
            }
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
            ] {
                assert!(!file.text.contains(forbidden), "{forbidden} in {}", file.path);
            }
        }
    }
}
