//! Our own program as a process beside us, asked and answered by lines.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context;

/// A child; it ends when its input does, which is when this is dropped.
pub(crate) struct Lines {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Lines {
    /// Starts our own program with other words.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("cannot find our own program")?;
        let mut child = Command::new(own)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a child")?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("a child without output")?);
        Ok(Self { child, input, output })
    }

    /// Sends one line.
    ///
    /// # Errors
    /// When the child has ended.
    pub(crate) fn write(&mut self, line: &str) -> anyhow::Result<()> {
        let input = self.input.as_mut().context("the child's input is shut")?;
        writeln!(input, "{line}").context("a child has ended")
    }

    /// Waits for one line.
    ///
    /// # Errors
    /// When the child has ended.
    pub(crate) fn read(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let length = self.output.read_line(&mut line).context("a child's output")?;
        anyhow::ensure!(length > 0, "a child has ended");
        Ok(line)
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        drop(self.input.take());
        // It ends by itself without input; should it hang, it is killed. Waiting only removes its entry.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
