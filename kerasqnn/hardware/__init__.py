"""From a Keras model to an FPGA project whose emulation gives the model's bits."""

from .boards import Board as Board
from .boards import boards as boards
from .boards import get_board as get_board
from .deploy import deploy as deploy
from .deployment import Deployment as Deployment
from .verification import Verification as Verification
