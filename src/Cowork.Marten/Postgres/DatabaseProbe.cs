using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;

using Npgsql;

namespace Cowork.Marten;

/// <summary>What a look at a given database found.</summary>
/// <param name="Unreachable">Why no connection can be made at the moment; null: one can.</param>
/// <param name="StartupOptions">False: something in between takes no options with a connection's first message, as pgbouncer does.</param>
public sealed record DatabaseProbe(string? Unreachable, bool StartupOptions)
{
    /// <summary>The message SSLRequest of PostgreSQL's protocol: its length, and a code.</summary>
    static readonly byte[] AskForTls = [0, 0, 0, 8, 4, 210, 22, 47];

    static readonly TimeSpan LookMax = TimeSpan.FromSeconds(3);

    /// <summary>Connects, and finds out whether a session is one: whether what is set, prepared and locked stays with a connection between two transactions.</summary>
    /// <exception cref="InvalidOperationException">The server refuses the connection, or is none that Cowork can work with. Waiting would not change that.</exception>
    public static async Task<DatabaseProbe> Ask(string connectionString, CancellationToken ct)
    {
        for (var options = true; ; options = false)
        {
            try
            {
                await using var source = SessionSettings.Source(SessionSettings.Once(connectionString, options));
                await using var connection = await source.OpenConnectionAsync(ct);
                if (await IsShared(source, connection, ct))
                {
                    throw new InvalidOperationException(
                        "Between here and PostgreSQL a pooler gives every transaction another session (pgbouncer with pool_mode = transaction or statement). Cowork prepares "
                        + "statements, listens and takes locks for a session: use the pooler with pool_mode = session, or PostgreSQL's own port (docs/deploy.md).");
                }
                await ServerFacts.Require(connection, ct);
                return new(null, options);
            }
            catch (PostgresException e) when (options && IsUnsupportedParameter(e))
            {
                // Once more, with nothing in the first message.
            }
            catch (Exception e) when (Database.IsAway(e) && !Database.IsDenied(e))
            {
                return new(await WhyUnreachable(e, connectionString, ct), options);
            }
            catch (PostgresException e)
            {
                throw new InvalidOperationException($"The database refuses the connection: {e.MessageText}", e);
            }
        }
    }

    /// <summary>A phrase. What goes wrong with TLS is the inner exception's to say, in words that name neither the address nor the setting.</summary>
    static async Task<string> WhyUnreachable(Exception e, string connectionString, CancellationToken ct)
    {
        var address = new NpgsqlConnectionStringBuilder(connectionString);
        var mode = address.SslMode switch { SslMode.VerifyFull => "verify-full", SslMode.VerifyCA => "verify-ca", var other => other.ToString().ToLowerInvariant() };
        for (var cause = e; cause is not null; cause = cause.InnerException)
        {
            if (cause is AuthenticationException)
            {
                return address.SslMode == SslMode.VerifyFull && await IsMisnamed(address.Host!, address.Port, ct)
                    ? $"its TLS certificate is not for the name {address.Host}, and sslmode={mode} wants it to be"
                    : $"its TLS certificate is not from an authority in {address.RootCertificate ?? "the machine's own list"}, or not valid, and sslmode={mode} wants it to be";
            }
            if (cause is FileNotFoundException or DirectoryNotFoundException && address.RootCertificate is { } roots && !File.Exists(roots))
            {
                return $"the file of trusted authorities, sslrootcert={roots}, is not there";
            }
            if (cause.Message.Contains("No SSL enabled connection", StringComparison.Ordinal))
            {
                return $"it speaks no TLS, and sslmode={mode} wants it";
            }
        }
        return e.Message;
    }

    /// <summary>
    /// Whether the server shows a certificate for another name. Npgsql says only that it was refused. Nothing is sent here but what begins TLS, because whoever answers
    /// may be anybody.
    /// </summary>
    static async Task<bool> IsMisnamed(string host, int port, CancellationToken ct)
    {
        var isMisnamed = false;
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(ct);
        deadline.CancelAfter(LookMax);
        try
        {
            using var socket = new TcpClient();
            await socket.ConnectAsync(host, port, deadline.Token);
            var stream = socket.GetStream();
            await stream.WriteAsync(AskForTls, deadline.Token);
            var answer = new byte[1];
            await stream.ReadExactlyAsync(answer, deadline.Token);
            if (answer[0] != 'S')
            {
                return false;
            }
            await using var encrypted = new SslStream(stream, false, (_, _, _, errors) =>
            {
                isMisnamed = errors.HasFlag(SslPolicyErrors.RemoteCertificateNameMismatch);
                return false;
            });
            await encrypted.AuthenticateAsClientAsync(new SslClientAuthenticationOptions { TargetHost = host }, deadline.Token);
        }
        catch (Exception e) when (e is AuthenticationException or SocketException or IOException or OperationCanceledException && !ct.IsCancellationRequested)
        {
            // The handshake ends here either way.
        }
        return isMisnamed;
    }

    /// <summary>pgbouncer's words; its code means any breach of the protocol.</summary>
    static bool IsUnsupportedParameter(PostgresException e) =>
        e.SqlState == PostgresErrorCodes.ProtocolViolation && e.MessageText.Contains("startup parameter", StringComparison.Ordinal);

    /// <summary>
    /// While the first connection is between two transactions, another one begins one. When it gets the server process of the first, or the first comes back to
    /// another process, the process belongs to the transaction and not to the connection.
    /// </summary>
    static async Task<bool> IsShared(NpgsqlDataSource source, NpgsqlConnection first, CancellationToken ct)
    {
        var before = await Pid(first, ct);
        NpgsqlConnection second;
        try
        {
            second = await source.OpenConnectionAsync(ct);
        }
        catch (NpgsqlException)
        {
            // There is only one. That is too few, but it is no pooler.
            return false;
        }
        await using (second)
        {
            await using var transaction = await second.BeginTransactionAsync(ct);
            return await Pid(second, ct) == before || await Pid(first, ct) != before;
        }
    }

    static async Task<int> Pid(NpgsqlConnection connection, CancellationToken ct)
    {
        await using var ask = new NpgsqlCommand("SELECT pg_backend_pid()", connection);
        return (int)(await ask.ExecuteScalarAsync(ct))!;
    }
}
