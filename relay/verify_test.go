package relay_test

import ()
