//! Lets another process have the state directory, and takes it back when that one does not get ready.

use tokio::time::Instant;

use super::controller::Controller;
use super::journal::{Happening, Kind};

impl Controller {
    /// Writes everything down, and lets go of the directory. Rollouts are judged on: an abort takes effect without the
    /// disk, and everything else waits for it in vain.
    ///
    /// # Errors
    /// It cannot be written down, or has been let go of already; nothing was changed.
    pub(super) fn release(&mut self) -> Result<(), String> {
        if self.saver.is_released() {
            return Err("the state is with another process already".to_owned());
        }
        let generation = self.publisher.generation();
        // Not as clean: the generations that follow here are not those that follow there.
        self.saver.save(&self.ground, generation, false, Instant::now())?;
        self.saver.release();
        Ok(())
    }

    /// Takes the directory again and goes on with what is known here.
    ///
    /// # Errors
    /// It is not free yet.
    pub(super) fn resume(&mut self, reason: &str) -> Result<(), String> {
        let directory = self.ground.spec.state_directory.clone();
        let newest = self.saver.take_again(&directory).map_err(|error| error.to_string())?;
        let generation = newest.max(self.publisher.generation() + 1);
        self.publisher.publish_as(&self.ground, generation);
        self.court.follow(&self.ground, self.publisher.table(), self.moment());
        self.note_and_tell(vec![Happening {
            by: "serin".to_owned(),
            ..Happening::of_file(
                Kind::Start,
                "resumed",
                format!(
                    "control goes on with {}: an upgrade failed: {reason}",
                    self.file.display()
                ),
            )
        }]);
        self.saver.save_later(&self.ground, generation, Instant::now());
        Ok(())
    }
}
