//! The page: which version answers, from which instance, and what the API says.

use crate::instance::Instance;

const TEMPLATE: &str = include_str!("page.html");

/// The page of this instance.
pub fn render(instance: &Instance, greeting: &str) -> String {
    let settings = &instance.settings;
    TEMPLATE
        .replace("{{hue}}", &hue(&settings.version).to_string())
        .replace("{{version}}", &escaped(&settings.version))
        .replace("{{instance}}", &escaped(&settings.instance))
        .replace("{{greeting}}", &escaped(greeting.trim_end()))
}

/// A colour of its own for each version; neighbours are far apart on the wheel.
fn hue(version: &str) -> u32 {
    let sum = version.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    sum.wrapping_mul(137) % 360
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_an_answer_stays_text() {
        assert_eq!(escaped("<b a=\"x\">&"), "&lt;b a=&quot;x&quot;&gt;&amp;");
    }

    #[test]
    fn versions_that_follow_each_other_differ_in_colour() {
        let [one, two] = ["1", "2"].map(hue);
        assert!(one.abs_diff(two) > 60, "{one} and {two}");
    }
}
