//! One rule at work for one function.

use super::{
    Firing, Shelf, ShelfError, Trouble,
    batch::Batch,
    change::Change,
    every::Every,
    fill::Filling,
    series::{Follow, Series},
    silence::Silence,
    threshold::Threshold,
    window::{Panes, Sessions, Terms},
};
use crate::model::{
    Event, Micros,
    manifest::{Rule, Shape, Window},
};

/// One rule at work for one function. The same events and ticks give the same firings, however often it was reloaded in between.
pub struct Rules {
    rule: Rule,
    work: Box<dyn Work + Send + Sync>,
}

/// What every kind of rule does.
trait Work {
    fn reload(&mut self, shelf: &mut dyn Shelf) -> Result<(), ShelfError>;
    fn grace(&mut self, now: Micros);
    fn take(&mut self, event: &Event, shelf: &mut dyn Shelf, out: &mut Vec<Firing>);
    /// True when there may be more.
    fn run(&mut self, now: Micros, shelf: &mut dyn Shelf, out: &mut Vec<Firing>) -> bool;
    fn next(&self) -> Option<Micros>;
    fn trouble(&mut self) -> Vec<Trouble>;
}

/// The part that names the rule by which the others were written.
const RULE: &str = "rule";

impl Rules {
    pub fn new(rule: &Rule) -> Rules {
        Rules { rule: rule.clone(), work: work(rule) }
    }

    /// After a start: takes in what was kept. From `now` on, silences have a grace in which devices can come back to a node that was away.
    /// What another kind of rule kept is forgotten.
    pub fn restore(&mut self, shelf: &mut dyn Shelf, now: Micros) -> Result<(), ShelfError> {
        self.reload(shelf)?;
        self.work.grace(now);
        Ok(())
    }

    /// After a commit that was refused: takes in what was kept, as if nothing had been taken since; a grace goes on as it was.
    pub fn reload(&mut self, shelf: &mut dyn Shelf) -> Result<(), ShelfError> {
        self.adopt(shelf);
        self.work.reload(shelf)
    }

    /// One reading, in the order of the log; what is due by its receive time, of any sensor, fires before it.
    pub fn take(&mut self, event: &Event, shelf: &mut dyn Shelf, out: &mut Vec<Firing>) {
        self.work.take(event, shelf, out);
    }

    /// The receive clock has come to `now`, and everything before it was taken.
    pub fn tick(&mut self, now: Micros, shelf: &mut dyn Shelf, out: &mut Vec<Firing>) {
        while self.tick_some(now, shelf, out) {}
    }

    /// As [`Rules::tick`], but not all at once: true when there may be more. For who has to store what fired piece by piece.
    pub fn tick_some(&mut self, now: Micros, shelf: &mut dyn Shelf, out: &mut Vec<Firing>) -> bool {
        self.work.run(now, shelf, out)
    }

    /// When [`Rules::tick`] is wanted next; it may come to nothing.
    pub fn next(&self) -> Option<Micros> {
        self.work.next()
    }

    /// What there was to say since it was asked last; readings too late once for each sensor, with their number.
    pub fn trouble(&mut self) -> Vec<Trouble> {
        self.work.trouble()
    }

    /// A new release may have another rule. What was kept by one of the same kind is of use to it, all else is not.
    fn adopt(&self, shelf: &mut dyn Shelf) {
        // Numbers and names of ours: there is nothing that could not be written.
        let text = serde_json::to_vec(&self.rule).unwrap_or_default();
        let kept = shelf.get(RULE);
        if kept.as_deref() == Some(&*text) {
            return;
        }
        let before = kept.and_then(|kept| serde_json::from_slice::<Rule>(&kept).ok());
        if !before.is_some_and(|before| is_of_use(&before, &self.rule)) {
            for (part, _) in shelf.list("") {
                shelf.put(&part, None);
            }
        }
        shelf.put(RULE, Some(text.into()));
    }
}

fn is_of_use(before: &Rule, now: &Rule) -> bool {
    match (before, now) {
        (Rule::Window(before), Rule::Window(now)) => before.shape == now.shape && before.per == now.per,
        _ => std::mem::discriminant(before) == std::mem::discriminant(now),
    }
}

fn work(rule: &Rule) -> Box<dyn Work + Send + Sync> {
    match rule {
        Rule::Batch { max, within } => Box::new(Batch::new(*max, *within)),
        Rule::Window(window) => of_shape(window),
        Rule::Silence { after } => Box::new(Series::new(Silence::new(*after))),
        Rule::Change(by) => Box::new(Series::new(Change { by: by.clone() })),
        Rule::Threshold(threshold) => Box::new(Series::new(Threshold::new(threshold))),
        Rule::Every { n } => Box::new(Series::new(Every { n: *n })),
        Rule::Fill(fill) => Box::new(Series::new(Filling::new(fill))),
    }
}

fn of_shape(window: &Window) -> Box<dyn Work + Send + Sync> {
    let terms = Terms::of(window);
    match window.shape {
        Shape::Tumbling { length } => Box::new(Series::new(Panes::new(terms, length, length))),
        Shape::Sliding { length, every } => Box::new(Series::new(Panes::new(terms, length, every))),
        Shape::Session { gap } => Box::new(Series::new(Sessions::new(terms, gap))),
    }
}

impl<F: Follow> Work for Series<F> {
    fn reload(&mut self, shelf: &mut dyn Shelf) -> Result<(), ShelfError> {
        Series::reload(self, shelf)
    }

    fn grace(&mut self, now: Micros) {
        Series::grace(self, now);
    }

    fn take(&mut self, event: &Event, shelf: &mut dyn Shelf, out: &mut Vec<Firing>) {
        Series::take(self, event, shelf, out);
    }

    fn run(&mut self, now: Micros, shelf: &mut dyn Shelf, out: &mut Vec<Firing>) -> bool {
        Series::run(self, now, shelf, out)
    }

    fn next(&self) -> Option<Micros> {
        Series::next(self)
    }

    fn trouble(&mut self) -> Vec<Trouble> {
        self.troubles.take()
    }
}

impl Work for Batch {
    fn reload(&mut self, shelf: &mut dyn Shelf) -> Result<(), ShelfError> {
        Batch::reload(self, shelf)
    }

    /// A batch waits for nobody.
    fn grace(&mut self, _now: Micros) {}

    fn take(&mut self, event: &Event, shelf: &mut dyn Shelf, out: &mut Vec<Firing>) {
        Batch::take(self, event, shelf, out);
    }

    fn run(&mut self, now: Micros, shelf: &mut dyn Shelf, out: &mut Vec<Firing>) -> bool {
        Batch::run(self, now, shelf, out);
        false
    }

    fn next(&self) -> Option<Micros> {
        Batch::next(self)
    }

    fn trouble(&mut self) -> Vec<Trouble> {
        Vec::new()
    }
}
