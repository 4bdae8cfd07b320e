//! Characters that nobody sees, and that make two texts look alike which are not.

/// The first character of `text` that is a control character (Unicode's category Cc), shapes
/// others without being seen (Cf), breaks lines and paragraphs (Zl, Zp), or leaves no mark where
/// it stands (the property Default_Ignorable_Code_Point, and the blank pattern of Braille).
pub(crate) fn unseen(text: &str) -> Option<char> {
    text.chars().find(|it| it.is_control() || is_blank(*it))
}

/// Cf, Zl, Zp and Default_Ignorable_Code_Point of Unicode 17, with what that keeps free for later,
/// and U+2800, a pattern without a dot. An emoji's selector (U+FE0F) is among them: with and
/// without it two names look alike.
fn is_blank(character: char) -> bool {
    matches!(
        u32::from(character),
        0xAD | 0x34F
            | 0x600..=0x605
            | 0x61C
            | 0x6DD
            | 0x70F
            | 0x890..=0x891
            | 0x8E2
            | 0x115F..=0x1160
            | 0x17B4..=0x17B5
            | 0x180B..=0x180F
            | 0x200B..=0x200F
            | 0x2028..=0x202E
            | 0x2060..=0x206F
            | 0x2800
            | 0x3164
            | 0xFE00..=0xFE0F
            | 0xFEFF
            | 0xFFA0
            | 0xFFF0..=0xFFFB
            | 0x1_10BD
            | 0x1_10CD
            | 0x1_3430..=0x1_343F
            | 0x1_BCA0..=0x1_BCA3
            | 0x1_D173..=0x1_D17A
            | 0xE_0000..=0xE_0FFF
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
        // The ends of each range that is ignorable or blank without being Cf.
        for ends in [
            ['\u{34F}', '\u{34F}'],
            ['\u{115F}', '\u{1160}'],
            ['\u{17B4}', '\u{17B5}'],
            ['\u{180B}', '\u{180F}'],
            ['\u{2065}', '\u{2065}'],
            ['\u{2800}', '\u{2800}'],
            ['\u{3164}', '\u{3164}'],
            ['\u{FE00}', '\u{FE0F}'],
            ['\u{FFA0}', '\u{FFA0}'],
            ['\u{FFF0}', '\u{FFF8}'],
            ['\u{1BCA0}', '\u{1BCA3}'],
            ['\u{E0000}', '\u{E0FFF}'],
        ] {
            for it in ends {
                assert_eq!(unseen(&format!("ana{it}")), Some(it), "{it:?}");
            }
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
            // What stands beside those ranges.
            "\u{34E}\u{350}",
            "\u{115E}\u{1161}",
            "\u{17B3}\u{17B6}",
            "\u{180A}\u{1810}",
            "\u{27FF}\u{2801}",
            "\u{3163}\u{3165}",
            "\u{FDFF}\u{FE10}",
            "\u{FF9F}\u{FFA1}",
            "\u{FFEF}\u{FFFC}",
        ] {
            assert_eq!(unseen(text), None, "{text:?}");
        }
    }
}
