//! The documents, as their blocks.

use anyhow::{Context, Result, bail};
use std::path::Path;

/// Of a page in `docs`, and of the README: a page's name and a heading in it.
pub type Section = (&'static str, &'static str);

/// What stands between two fences.
pub struct Block {
    /// The file's name; the README of the root is `../README.md`.
    pub page: String,
    /// The heading above.
    pub heading: String,
    /// What stands behind the fence; `indented` without a fence.
    pub info: String,
    pub body: String,
}

/// The blocks of all pages for users, in their order.
pub fn all() -> Result<Vec<Block>> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let mut pages = vec!["../README.md".to_owned(), "../SECURITY.md".to_owned()];
    for entry in std::fs::read_dir(&docs)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            pages.push(name);
        }
    }
    pages.sort();
    let mut blocks = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(docs.join(&page)).with_context(|| page.clone())?;
        blocks.extend(blocks_of(&page, &text));
    }
    Ok(blocks)
}

fn blocks_of(page: &str, text: &str) -> Vec<Block> {
    let (mut blocks, mut heading, mut open) = (Vec::new(), String::new(), None);
    let block = |heading: &str, info: String, body: String| Block {
        page: page.to_owned(),
        heading: heading.to_owned(),
        info,
        body,
    };
    for line in text.lines() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (None, Some(info)) => open = Some((info.to_owned(), String::new())),
            (Some(_), Some(_)) => {
                let (info, body) = open.take().unwrap_or_default();
                blocks.push(block(&heading, info, body));
            }
            (Some((_, body)), None) => {
                body.push_str(line.trim());
                body.push('\n');
            }
            (None, None) => {
                if let Some(title) = line.strip_prefix('#') {
                    heading = title.trim_start_matches('#').trim().to_owned();
                } else if line.starts_with("    ") {
                    blocks.push(block(&heading, "indented".to_owned(), line.trim().to_owned()));
                }
            }
        }
    }
    blocks
}

/// The blocks of all pages.
pub struct Pages(Vec<Block>);

impl Pages {
    pub fn read() -> Result<Pages> {
        Ok(Pages(all()?))
    }

    /// The blocks under a heading, in their order.
    pub fn under(&self, (page, heading): Section) -> Vec<&Block> {
        let blocks = self.0.iter();
        blocks
            .filter(|block| block.page == page && block.heading == heading)
            .collect()
    }

    /// The blocks of a page, in their order.
    pub fn of(&self, page: &str) -> Vec<&Block> {
        self.0.iter().filter(|block| block.page == page).collect()
    }

    /// The one block under a heading behind whose fence this stands.
    pub fn block(&self, section: Section, info: &str) -> Result<&str> {
        let mut found = self.under(section).into_iter().filter(|block| block.info == info);
        match (found.next(), found.next()) {
            (Some(block), None) => Ok(&block.body),
            _ => bail!("{section:?}: not one block '{info}'"),
        }
    }
}
