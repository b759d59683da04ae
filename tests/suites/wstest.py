"""Autobahn's `wstest` from a directory that `pip install --target` has filled. Python 2.7: wstest.py LIBRARY ARGUMENTS...

Needed because namespace packages (zope) are only found through their .pth files, which PYTHONPATH does not read.
"""

import site
import sys

# Our own directory would come first, with modules of its own.
del sys.path[0]
site.addsitedir(sys.argv.pop(1))
from autobahntestsuite.wstest import run

sys.argv[0] = "wstest"
run()
