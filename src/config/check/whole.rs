//! What flags need to know of the rest of the file: its environment, whose tokens and certificates count, how
//! all flags are called, who leans on whom, and the files of keys.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::names::Names;
use crate::config::file::{self, File};
use crate::config::read::{Reader, Slot};
use crate::config::tree::NodeId;
use crate::name::Name;
use crate::route::{FlagId, Prerequisite};

/// The rest of the file, as far as flags go by it; and what they add to it.
pub(super) struct Whole<'f> {
    /// Which environment this process serves.
    pub(super) environment: &'f Slot<crate::config::scalar::Text>,
    /// Where relative paths begin.
    pub(super) directory: &'f Path,
    /// Whether anybody's tokens are believed.
    pub(super) has_issuers: bool,
    /// Whether a listener asks for client certificates.
    pub(super) has_client_ca: bool,
    /// All flags: those of routes first.
    pub(super) flags: Vec<Known<'f>>,
    /// Who leans on whom.
    pub(super) leans: Vec<Lean>,
    /// Files of keys, in the order in which they are named first.
    pub(super) key_files: Vec<PathBuf>,
    names: Names<'f>,
    routes: usize,
    file_indexes: HashMap<PathBuf, usize>,
}

/// A flag, as others see it.
pub(super) struct Known<'f> {
    /// Where its name stands; `None`: it has none.
    pub(super) name: Option<NodeId>,
    /// The names of its variants; `None`: there are none.
    pub(super) variants: Option<Names<'f>>,
    /// It draws anew each time it is asked.
    pub(super) draws_anew: bool,
    /// What it goes by that no request has; `None`: nothing.
    pub(super) beyond_requests: Option<&'static str>,
}

/// One flag leans on another.
pub(super) struct Lean {
    /// Index of the flag that does.
    pub(super) from: usize,
    /// Index of the other.
    pub(super) to: usize,
    /// Where the other is named.
    pub(super) at: NodeId,
}

impl<'f> Whole<'f> {
    /// What `file` says before its flags are checked; those that are called alike are reported.
    pub(super) fn of(file: &'f File, directory: &'f Path, reader: &mut Reader<'_>) -> Self {
        let listeners = || file.listeners.items();
        // What does not fit may have meant it.
        let asks = |slot: &Slot<file::Listener>| match slot.get().map(|listener| &listener.tls) {
            Some(tls) => tls.get().map_or(!tls.left_out, |tls| !tls.client_ca.left_out),
            None => true,
        };
        let called = || {
            let routes = file.routes.items().map(|slot| slot.get().map(flag_of_route));
            routes.chain(file.flags.items().map(|slot| slot.get().map(|flag| &flag.name)))
        };
        check_unique(file, reader);
        let of_routes = file.routes.items().map(|slot| {
            let split = slot.get().and_then(|route| route.split.get());
            split.map(|split| variant_names(reader, split.variants.items().map(|v| v.get().map(|v| &v.name))))
        });
        let of_own = file.flags.items().map(|slot| {
            let flag = slot.get();
            flag.map(|flag| variant_names(reader, flag.variants.items().map(|v| v.get().map(|v| &v.name))))
        });
        let variants: Vec<_> = of_routes.chain(of_own).collect();
        let known = |(name, variants): (Option<&Slot<Name>>, _)| Known {
            name: name.filter(|name| name.get().is_some()).map(|name| name.at),
            variants,
            draws_anew: false,
            beyond_requests: None,
        };
        Self {
            environment: &file.environment,
            directory,
            has_issuers: file.jwt.get().map_or(!file.jwt.left_out, |list| !list.is_empty()),
            has_client_ca: listeners().any(asks),
            flags: called().zip(variants).map(known).collect(),
            leans: Vec::new(),
            key_files: Vec::new(),
            names: Names::of(reader, "flag", called()),
            routes: file.routes.items().count(),
            file_indexes: HashMap::new(),
        }
    }

    /// The index of the route's flag.
    pub(super) const fn of_route(route: usize) -> usize {
        route
    }

    /// The index of the flag without a route.
    pub(super) const fn of_own(&self, own: usize) -> usize {
        self.routes + own
    }

    /// Whether this process serves the environment `name`.
    pub(super) fn serves(&self, name: &str) -> bool {
        self.environment.get().is_some_and(|text| text.0 == name)
    }

    /// Reports an environment that can never be this one's, as the file does not say which it is.
    pub(super) fn check_environment(&self, at: NodeId, reader: &mut Reader<'_>) {
        if self.environment.left_out {
            let message = "goes by the environment, which the file does not name; \
                           write `environment: ${ENVIRONMENT}` at its top";
            reader.refuse(at, message);
        }
    }

    /// What `written` of the flag `from` asks for; a flag or a variant that does not exist is reported.
    pub(super) fn prerequisite(
        &mut self,
        from: usize,
        written: &file::Prerequisite,
        reader: &mut Reader<'_>,
    ) -> Option<Prerequisite> {
        let to = self.names.find(&written.flag, reader)?;
        let at = written.flag.at;
        self.leans.push(Lean { from, to, at });
        let variant = self.flags[to].variants.as_ref()?.find(&written.variant, reader)?;
        let flag = match to.checked_sub(self.routes) {
            None => FlagId::Route(to),
            Some(own) => FlagId::Own(own),
        };
        Some(Prerequisite { flag, variant })
    }

    /// Whether the flag with this index is a route's.
    pub(super) const fn is_route(&self, flag: usize) -> bool {
        flag < self.routes
    }

    /// The index of the file of keys at `path`.
    pub(super) fn key_file(&mut self, path: PathBuf) -> usize {
        *self.file_indexes.entry(path).or_insert_with_key(|path| {
            self.key_files.push(path.clone());
            self.key_files.len() - 1
        })
    }
}

fn variant_names<'f>(reader: &Reader<'_>, names: impl Iterator<Item = Option<&'f Slot<Name>>>) -> Names<'f> {
    Names::of(reader, "variant", names)
}

/// Where it is written how the flag of a route is called.
pub(super) fn flag_of_route(route: &file::Route) -> &Slot<Name> {
    match route.split.get().map(|split| &split.flag) {
        Some(flag) if !flag.left_out => flag,
        _ => &route.name,
    }
}

/// Reports flags that are called like an earlier one. Routes of one name are reported as such elsewhere.
fn check_unique(file: &File, reader: &mut Reader<'_>) {
    let routes = file.routes.items().filter_map(Slot::get);
    let routes = routes.map(|route| {
        let called = flag_of_route(route);
        (called, std::ptr::eq(called, &route.name))
    });
    let own = file.flags.items().filter_map(Slot::get).map(|flag| (&flag.name, false));
    let mut first: HashMap<&Name, (u32, bool)> = HashMap::new();
    for (slot, by_route) in routes.chain(own) {
        let Some(name) = slot.get() else { continue };
        let line = reader.tree.get(slot.at).place.0;
        match first.get(name) {
            Some((_, true)) if by_route => {}
            Some((first, _)) => {
                let message = format!(
                    "is how the flag on line {first} is called already; call one of them otherwise, a route's by `flag`"
                );
                reader.refuse_text(slot.at, &message);
            }
            None => {
                first.insert(name, (line, by_route));
            }
        }
    }
}
