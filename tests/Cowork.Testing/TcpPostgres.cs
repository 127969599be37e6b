using System.Net;
using System.Net.Sockets;

using Cowork.Marten;

using Npgsql;

namespace Cowork.Testing;

/// <summary>A PostgreSQL of its own that listens on TCP of this machine, with a certificate or without one, with passwords or without.</summary>
public sealed class TcpPostgres : IAsyncDisposable
{
    readonly PostgresBinaries binaries = PostgresBinaries.Choose(null);
    readonly string directory = TestPostgres.NewDirectory();
    readonly ServerUser user;
    int databases;

    TcpPostgres(ServerUser user, int port) => (this.user, Port) = (user, port);

    public int Port { get; }

    /// <summary>Its unix socket, for what stands between a client and the server.</summary>
    public string UnixSocket => Path.Combine(directory, $".s.PGSQL.{Port}");

    /// <param name="certificate">Null: it speaks no TLS.</param>
    /// <param name="password">Of the superuser <c>cowork</c>, and then everybody needs one; null: nobody does.</param>
    public static async Task<TcpPostgres> Start(TestCertificate? certificate, string? password = null)
    {
        var server = new TcpPostgres(await ServerUser.For("/nowhere", CancellationToken.None), FreePort());
        await server.user.Own(server.directory, CancellationToken.None);
        var file = server.directory + ".password";
        await File.WriteAllTextAsync(file, password ?? "none");
        await server.Run("initdb", "-D", server.directory, "-U", "cowork", "-A", "trust", "-E", "UTF8", "--no-sync", "--pwfile", file);
        File.Delete(file);
        // From TCP with TLS alone where there is a certificate: what is in the clear is refused by the server too.
        await server.user.Write(Path.Combine(server.directory, "pg_hba.conf"),
            $"{(certificate is null ? "host" : "hostssl")} all all 127.0.0.1/32 {(password is null ? "trust" : "scram-sha-256")}\n"
            + (password is null ? "" : "local all all scram-sha-256\n"));
        var tls = "";
        if (certificate is not null)
        {
            await server.user.Write(Path.Combine(server.directory, "server.crt"), certificate.Certificate);
            await server.user.Write(Path.Combine(server.directory, "server.key"), certificate.Key);
            tls = "-c ssl=on";
        }
        await server.Run(
            "pg_ctl", "-D", server.directory, "-w", "-l", Path.Combine(server.directory, "server.log"), "-o",
            $"-c listen_addresses=127.0.0.1 -p {server.Port} -k {server.directory} -c fsync=off {tls}", "start");
        return server;
    }

    /// <summary>The connection string of a new database, as the superuser, after some SQL in it.</summary>
    public async Task<string> NewDatabase(string password, string sql)
    {
        var name = $"db_{Interlocked.Increment(ref databases)}";
        var of = new NpgsqlConnectionStringBuilder { Host = "127.0.0.1", Port = Port, Database = "postgres", Username = "cowork", Password = password, Pooling = false };
        await Execute(of.ConnectionString, $"CREATE DATABASE {name}");
        of.Database = name;
        await Execute(of.ConnectionString, sql);
        return of.ConnectionString;
    }

    static async Task Execute(string database, string sql)
    {
        await using var connection = new NpgsqlConnection(database);
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection);
        await command.ExecuteNonQueryAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await Run("pg_ctl", "-D", directory, "-m", "immediate", "-w", "stop");
        Directory.Delete(directory, recursive: true);
    }

    static int FreePort()
    {
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }

    Task<string> Run(string program, params string[] arguments) =>
        ServerUser.Finish(user.Command([Path.Combine(binaries.Directory, program), .. arguments]), CancellationToken.None);
}
