"""``python -m headrace.demo``."""

import sys

from consumer.ports import SourceError
from headrace.brokers import BrokerStartError
from headrace.cli.output import print_error
from headrace.demo.demo import main
from headrace.errors import ServiceError
from headrace.settings.problems import SettingsError
from serve_models.weights.sources import ModelSourceError

if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BrokerStartError, ModelSourceError, ServiceError, SettingsError, SourceError) as error:
        print_error(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
