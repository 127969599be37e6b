using System.Collections.Concurrent;
using System.Net.Sockets;

using Cowork.Testing;

namespace Cowork.Kill.Tests;

/// <summary>Does what pgbouncer does with <c>pool_mode = transaction</c>: a client has a session of the server for as long as a transaction takes.</summary>
sealed class TransactionPooler : IAsyncDisposable
{
    readonly LoopbackListener listener;
    readonly ConcurrentStack<(Stream Server, byte[] Greeting)> idle = new();
    readonly string target;

    /// <param name="target">PostgreSQL's unix socket, which lets everybody in.</param>
    public TransactionPooler(string target)
    {
        this.target = target;
        listener = new(Serve);
    }

    public int Port => listener.Port;

    public async ValueTask DisposeAsync()
    {
        await listener.DisposeAsync();
        foreach (var (server, _) in idle)
        {
            await server.DisposeAsync();
        }
    }

    async Task Serve(Socket connection)
    {
        try
        {
            await using var client = new NetworkStream(connection, ownsSocket: true);
            var startup = await PostgresMessages.Startup(client);
            var (server, greeting) = await Take(startup);
            await client.WriteAsync(greeting);
            idle.Push((server, greeting));
            while (true)
            {
                var message = await PostgresMessages.Next(client);
                if (message[0] == 'X')
                {
                    return;
                }
                (server, greeting) = await Take(startup);
                var done = false;
                while (!done)
                {
                    await server.WriteAsync(message);
                    done = message[0] is (byte)'S' or (byte)'Q' && await Answer(server, client) == 'I';
                    message = done ? message : await PostgresMessages.Next(client);
                }
                idle.Push((server, greeting));
            }
        }
        catch (Exception e) when (e is IOException or EndOfStreamException)
        {
            // The client has gone.
        }
    }

    async Task<(Stream Server, byte[] Greeting)> Take(byte[] startup)
    {
        if (idle.TryPop(out var one))
        {
            return one;
        }
        var server = new NetworkStream(await LoopbackListener.Connect(target), ownsSocket: true);
        await server.WriteAsync(startup);
        using var greeting = new MemoryStream();
        await Answer(server, greeting);
        return (server, greeting.ToArray());
    }

    /// <summary>Passes on what the server says until it is ready. Answers whether a transaction is under way.</summary>
    static async Task<char> Answer(Stream server, Stream client)
    {
        while (true)
        {
            var message = await PostgresMessages.Next(server);
            await client.WriteAsync(message);
            if (message[0] == 'Z')
            {
                return (char)message[5];
            }
        }
    }
}
