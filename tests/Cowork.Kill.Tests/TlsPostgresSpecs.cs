using Cowork.Testing;

using Npgsql;

namespace Cowork.Kill.Tests;

/// <summary>TLS between the host and a PostgreSQL of one's own, in libpq's words.</summary>
public sealed class TlsPostgresSpecs : IDisposable
{
    readonly TestAuthority authority = new();
    readonly TestAuthority stranger = new("Another authority");
    readonly string folder = Directory.CreateDirectory(TestPostgres.NewDirectory()).FullName;

    public void Dispose()
    {
        authority.Dispose();
        stranger.Dispose();
        Directory.Delete(folder, recursive: true);
    }

    /// <summary>The host works over the connection that it was told to check; what does not stand the check is no database: 503, and the log says why.</summary>
    [Fact]
    public async Task The_servers_certificate_is_checked_as_sslmode_says()
    {
        var (roots, others) = (Path.Combine(folder, "root.crt"), Path.Combine(folder, "other.crt"));
        await File.WriteAllTextAsync(roots, authority.Pem);
        await File.WriteAllTextAsync(others, stranger.Pem);
        await using var good = await TcpPostgres.Start(authority.Issue("localhost"));
        await using var misnamed = await TcpPostgres.Start(authority.Issue("db.example"));
        await using var plain = await TcpPostgres.Start(null);

        await using (var host = await HostProcess.Start(Data("good"), $"postgres://cowork@localhost:{good.Port}/postgres?sslmode=verify-full&sslrootcert={roots}"))
        {
            Assert.Equal("completed", (await host.Http.Turn(await host.Http.NewSession(), "/say encrypted")).Is(200)["status"]);
            await using var look = new NpgsqlConnection($"Host=localhost;Port={good.Port};Username=cowork;Database=postgres;SSL Mode=Require;Pooling=false");
            await look.OpenAsync();
            const string Sessions = """
                SELECT count(*) FILTER (WHERE s.ssl), count(*) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.backend_type = 'client backend'
                """;
            await using var ask = new NpgsqlCommand(Sessions, look);
            await using var row = await ask.ExecuteReaderAsync();
            Assert.True(await row.ReadAsync());
            Assert.Equal(row.GetInt64(1), row.GetInt64(0));
        }
        // The same in libpq's variables; and a certificate for another name will do where only its authority is looked at.
        await using (var host = await HostProcess.Start(
            Data("variables"), null, 0, ("PGHOST", "localhost"), ("PGPORT", $"{misnamed.Port}"), ("PGUSER", "cowork"), ("PGDATABASE", "postgres"), ("PGSSLMODE", "verify-ca"),
            ("PGSSLROOTCERT", roots)))
        {
            (await host.Http.Get("/sessions")).Is(200);
        }
        await Refused("name", $"postgres://cowork@localhost:{misnamed.Port}/postgres?sslmode=verify-full&sslrootcert={roots}",
            "its TLS certificate is not for the name localhost, and sslmode=verify-full wants it to be");
        await Refused("authority", $"postgres://cowork@localhost:{good.Port}/postgres?sslmode=verify-full&sslrootcert={others}",
            $"its TLS certificate is not from an authority in {others}, or not valid, and sslmode=verify-full wants it to be");
        await Refused("system", $"postgres://cowork@localhost:{good.Port}/postgres?sslmode=verify-full&sslrootcert=system",
            "its TLS certificate is not from an authority in the machine's own list");
        await Refused("plain", $"postgres://cowork@localhost:{plain.Port}/postgres?sslmode=verify-full&sslrootcert={roots}",
            "it speaks no TLS, and sslmode=verify-full wants it");
        await Refused("no roots", $"postgres://cowork@localhost:{good.Port}/postgres?sslmode=verify-full&sslrootcert={folder}/none.crt",
            $"the file of trusted authorities, sslrootcert={folder}/none.crt, is not there");
    }

    async Task Refused(string name, string address, string reason)
    {
        await using var host = HostProcess.Launch(Data(name), address);
        await host.Listening();
        await host.Said(reason);
        (await host.Http.Get("/health/live")).Is(200);
        (await host.Http.Get("/health/ready")).IsProblem(503, "starting");
        Assert.Equal(0, await host.Stop());
    }

    string Data(string name) => Path.Combine(folder, name.Replace(' ', '-'));
}
