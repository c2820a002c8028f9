"""Why PostgreSQL does not let us in, as a sentence with the way out. No secret stands in it."""

import ssl

import asyncpg


def refusal(error: BaseException, variable: str = "the service's DATABASE_URL") -> str | None:
    """None where the error is another one. `variable` holds the URL that was used."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"the certificate of PostgreSQL is not trusted ({error.verify_message}): sslrootcert in {variable} must name the file "
            "of the authority that signed it, and the host must be a name that stands in it"
        )
    if isinstance(error, asyncpg.InvalidPasswordError):
        return f"PostgreSQL does not accept the password in {variable}; the migration gives a service's role the one in its URL"
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return (
            f"PostgreSQL refuses this way in ({str(error).partition(chr(10))[0]}); where it asks for encryption, {variable} must "
            "end in ?sslmode=verify-full&sslrootcert=/path/of/ca.pem"
        )
    if isinstance(error, ConnectionError) and "SSL" in str(error):
        return (
            f"PostgreSQL speaks no TLS, which sslmode in {variable} asks for: turn on `ssl` in the server, or use another sslmode"
        )
    return None
