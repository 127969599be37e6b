using System.Net;
using System.Net.Sockets;

using Cowork.Marten;
using Cowork.Testing;

namespace Cowork.Kill.Tests;

/// <summary>A PostgreSQL of its own that listens on TCP, with a certificate or without one.</summary>
sealed class TlsPostgres : IAsyncDisposable
{
    readonly PostgresBinaries binaries = PostgresBinaries.Choose(null);
    readonly string directory = TestPostgres.NewDirectory();
    readonly ServerUser user;

    TlsPostgres(ServerUser user, int port) => (this.user, Port) = (user, port);

    public int Port { get; }

    /// <param name="certificate">Null: it speaks no TLS.</param>
    public static async Task<TlsPostgres> Start(TestCertificate? certificate)
    {
        var server = new TlsPostgres(await ServerUser.For("/nowhere", CancellationToken.None), FreePort());
        await server.user.Own(server.directory, CancellationToken.None);
        await server.Run("initdb", "-D", server.directory, "-U", "cowork", "-A", "trust", "-E", "UTF8", "--no-sync");
        // From TCP with TLS alone where there is a certificate: what is in the clear is refused by the server too.
        await server.user.Write(Path.Combine(server.directory, "pg_hba.conf"), $"{(certificate is null ? "host" : "hostssl")} all all 127.0.0.1/32 trust\n");
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
