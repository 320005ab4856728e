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
/// The reason, when the text is not such a file.
pub fn parse_md5_file(text: &str, file_name: &str) -> Result<[u8; 16], String> {
    let line = text.lines().next().unwrap_or_default();
    let (digits, rest) = line.split_at_checked(32).ok_or("it is too short for a digest")?;
    let mut md5 = [0; 16];
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    for (byte, pair) in md5.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { continue };
        *byte = match (digit(*high), digit(*low)) {
            (Some(high), Some(low)) => high << 4 | low,
            _ => return Err(format!("{digits:?} is not hexadecimal")),
        };
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
