//! What fails again and again is told once.

use paas_core::Error;

/// Why something that is tried again and again does not work.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Option<String>);

impl Trouble {
    /// It failed. Answers why, unless that was told already.
    pub(crate) fn news(&mut self, error: &Error) -> Option<&str> {
        let report = error.report();
        if self.0.as_ref() == Some(&report) {
            return None;
        }
        Some(self.0.insert(report))
    }

    /// It works; answers whether it did not before.
    pub(crate) fn is_over(&mut self) -> bool {
        self.0.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use paas_core::ErrorKind;

    use super::*;

    #[test]
    fn the_same_trouble_is_told_once_until_it_is_over() {
        let denied = Error::new(ErrorKind::Denied, "follow pods");
        let away = Error::new(ErrorKind::Unavailable, "follow pods");
        let mut trouble = Trouble::default();
        assert!(!trouble.is_over());
        assert!(trouble.news(&denied).is_some() && trouble.news(&denied).is_none());
        assert!(trouble.news(&away).is_some() && trouble.is_over());
        assert!(trouble.news(&away).is_some());
    }
}
