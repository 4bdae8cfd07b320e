//! Characters that nobody sees, and that make two texts look alike which are not.

/// The first character of `text` that is a control character (Unicode's category Cc), shapes
/// others without being seen (Cf), or breaks lines and paragraphs (Zl, Zp).
pub(crate) fn unseen(text: &str) -> Option<char> {
    text.chars().find(|it| it.is_control() || shapes(*it))
}

/// Cf, Zl and Zp of Unicode 17.
fn shapes(character: char) -> bool {
    matches!(
        u32::from(character),
        0xAD | 0x600..=0x605
            | 0x61C
            | 0x6DD
            | 0x70F
            | 0x890..=0x891
            | 0x8E2
            | 0x180E
            | 0x200B..=0x200F
            | 0x2028..=0x202E
            | 0x2060..=0x2064
            | 0x2066..=0x206F
            | 0xFEFF
            | 0xFFF9..=0xFFFB
            | 0x1_10BD
            | 0x1_10CD
            | 0x1_3430..=0x1_343F
            | 0x1_BCA0..=0x1_BCA3
            | 0x1_D173..=0x1_D17A
            | 0xE_0001
            | 0xE_0020..=0xE_007F
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_found_and_all_scripts_pass() {
        for text in [
            "a\u{200B}",
            "\u{202E}ana",
            "a\nb",
            "a\u{7F}",
            "a\u{2028}b",
            "\u{FEFF}a",
        ] {
            assert!(unseen(text).is_some(), "{text:?}");
        }
        for text in [
            "ana",
            "Ana María",
            "用户",
            "משתמש",
            "صفا",
            "𝒜",
            "🙂",
            "sensor/+/live",
        ] {
            assert_eq!(unseen(text), None, "{text:?}");
        }
    }
}
