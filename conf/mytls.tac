"""
TLS in a twistd application file, told by the environment where to listen and what to do:

    MYTLS_ENDPOINT=ssl:8443:privateKey=key.pem:certKey=fullchain.pem twistd --nodaemon --python conf/mytls.tac

Other services of the same program are added to the application in the same way. The modules of a handler string are
looked for in the folder that the command is typed in; twistd by itself does not look there.
"""

import os
import sys

from twisted.application.service import Application

import mytls

sys.path.insert(0, os.getcwd())
application = Application("mytls")
tls = mytls.service(os.environ["MYTLS_ENDPOINT"], os.environ.get("MYTLS_HANDLER", "echo"))
tls.setServiceParent(application)
