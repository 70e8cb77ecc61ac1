from tests.study.conftest import small  # noqa: F401 - the fixture of the small study
