//! Stop strings, matched across token boundaries and never emitted.
//!
//! Text is looked at one character at a time, so the result does not depend on how it was cut into tokens: generation
//! stops at the first character that completes any stop string, and of several completed there the longest counts.

/// What may be shown after some more text came.
#[derive(Debug, PartialEq, Eq)]
pub struct Progress {
    pub text: String,
    pub stopped: bool,
}

/// Follows the text of one answer.
#[derive(Debug)]
pub struct StopMatcher {
    stops: Vec<String>,
    /// The longest end of the text so far that might become a stop string.
    held: String,
}

impl StopMatcher {
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    /// Takes more text; gives what can be shown. After `stopped` nothing more may be pushed.
    pub fn push(&mut self, text: &str) -> Progress {
        if self.stops.is_empty() {
            return Progress { text: text.to_owned(), stopped: false };
        }
        let mut shown = String::new();
        for character in text.chars() {
            self.held.push(character);
            if let Some(length) = self.completed() {
                self.held.truncate(self.held.len() - length);
                shown.push_str(&std::mem::take(&mut self.held));
                return Progress { text: shown, stopped: true };
            }
            let free = self.held.len() - self.longest_partial();
            shown.extend(self.held.drain(..free));
        }
        Progress { text: shown, stopped: false }
    }

    /// The answer ended for another reason: what was held back is shown after all.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    fn completed(&self) -> Option<usize> {
        self.stops.iter().filter(|stop| self.held.ends_with(stop.as_str())).map(String::len).max()
    }

    /// Bytes of the longest end of `held` that begins a stop string.
    fn longest_partial(&self) -> usize {
        let starts = self.held.char_indices().map(|(at, _)| &self.held[at..]);
        starts.filter(|end| self.stops.iter().any(|stop| stop.starts_with(end))).map(str::len).next().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], chunks: &[&str]) -> (String, bool) {
        let mut matcher = StopMatcher::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        let mut shown = String::new();
        for chunk in chunks {
            let progress = matcher.push(chunk);
            shown.push_str(&progress.text);
            if progress.stopped {
                return (shown, true);
            }
        }
        shown.push_str(&matcher.finish());
        (shown, false)
    }

    #[test]
    fn a_stop_string_over_two_tokens_is_not_emitted() {
        assert_eq!(run(&["\n\nUser:"], &["Hi", "\n", "\nUs", "er: x"]), ("Hi".to_owned(), true));
    }

    #[test]
    fn a_false_start_is_shown_as_soon_as_it_is_one() {
        let mut matcher = StopMatcher::new(vec!["END".to_owned()]);
        assert_eq!(matcher.push("xEN"), Progress { text: "x".to_owned(), stopped: false });
        assert_eq!(matcher.push("t"), Progress { text: "ENt".to_owned(), stopped: false });
        assert_eq!(matcher.push("E"), Progress { text: String::new(), stopped: false });
        assert_eq!(matcher.finish(), "E");
    }

    #[test]
    fn the_one_that_completes_first_wins() {
        assert_eq!(run(&["abcd", "bc"], &["abcd"]), ("a".to_owned(), true));
        assert_eq!(run(&["aab"], &["a", "a", "a", "b"]), ("a".to_owned(), true));
    }

    proptest! {
        #[test]
        fn chunking_does_not_matter(
            text in "[abé]{0,24}", stops in proptest::collection::vec("[abé]{1,4}", 0..4), cuts in proptest::collection::vec(0usize..25, 0..8),
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let characters: Vec<String> = text.chars().map(String::from).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(characters.len())).collect();
            cuts.extend([0, characters.len()]);
            cuts.sort_unstable();
            let chunks: Vec<String> = cuts.windows(2).map(|pair| characters[pair[0]..pair[1]].concat()).collect();
            let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
            let (shown, stopped) = run(&stops, &chunks);
            prop_assert_eq!((shown.clone(), stopped), run(&stops, &[&text]));
            prop_assert!(text.starts_with(&shown));
            prop_assert_eq!(stopped, stops.iter().any(|stop| text.contains(stop)));
            prop_assert!(!stops.iter().any(|stop| shown.contains(stop)));
        }
    }
}
