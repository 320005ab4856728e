//! The text file beside an image: `.md5`.

/// What is appended to an image's name (`MD5FileUtils.MD5_SUFFIX`).
pub const MD5_SUFFIX: &str = ".md5";

/// The content of the `.md5` file of `file_name`.
#[must_use]
pub fn format_md5_file(md5: &[u8; 16], file_name: &str) -> String {
    let digits: String = md5.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits} *{file_name}\n")
}

/// The digest in a `.md5` file, which must name its own file.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_md5_file(text: &str, file_name: &str) -> Result<[u8; 16], String> {
    let line = text.lines().next().unwrap_or_default();
    let (digits, rest) = line.split_at_checked(32).ok_or("it is too short for a digest")?;
    let mut md5 = [0; 16];
    for (index, byte) in md5.iter_mut().enumerate() {
        let pair = digits.get(2 * index..2 * index + 2).ok_or("not a digest")?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| format!("{pair:?} is not hexadecimal"))?;
    }
    let named = rest
        .strip_prefix(" *")
        .or_else(|| rest.strip_prefix("  "))
        .ok_or("no file name after the digest")?;
    if named != file_name {
        return Err(format!("it is the digest of {named}, not of {file_name}"));
    }
    Ok(md5)
}
