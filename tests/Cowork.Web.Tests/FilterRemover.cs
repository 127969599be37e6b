using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;
using System.Text.RegularExpressions;

using Cowork.Testing;

namespace Cowork.Web.Tests;

/// <summary>
/// Stands between a host and PostgreSQL's socket, and makes every condition on a tenant true in the statements that pass: a host behind it has no filter of its own.
/// </summary>
sealed partial class FilterRemover : IAsyncDisposable
{
    readonly LoopbackListener listener;
    readonly string target;
    int removed;

    /// <param name="target">PostgreSQL's unix socket.</param>
    public FilterRemover(string target)
    {
        this.target = target;
        listener = new(Serve);
    }

    public int Port => listener.Port;

    /// <summary>Statements that have lost a filter.</summary>
    public int Removed => Volatile.Read(ref removed);

    public ValueTask DisposeAsync() => listener.DisposeAsync();

    async Task Serve(Socket connection)
    {
        try
        {
            await using var client = new NetworkStream(connection, ownsSocket: true);
            await using var server = new NetworkStream(await LoopbackListener.Connect(target), ownsSocket: true);
            await server.WriteAsync(await PostgresMessages.Startup(client));
            _ = server.CopyToAsync(client);
            while (true)
            {
                await server.WriteAsync(WithoutFilter(await PostgresMessages.Next(client)));
            }
        }
        catch (Exception e) when (e is IOException or SocketException or ObjectDisposedException)
        {
            // One side has gone.
        }
    }

    /// <summary>A Parse message holds a name, a statement, and the types of its parameters.</summary>
    byte[] WithoutFilter(byte[] message)
    {
        if (message[0] != 'P')
        {
            return message;
        }
        var name = Array.IndexOf(message, (byte)0, 5) + 1;
        var end = Array.IndexOf(message, (byte)0, name);
        var statement = Encoding.UTF8.GetString(message, name, end - name);
        var open = Filter().Replace(statement, "(${column} = ${value} OR true)");
        if (open == statement)
        {
            return message;
        }
        Interlocked.Increment(ref removed);
        byte[] without = [.. message[..name], .. Encoding.UTF8.GetBytes(open), .. message[end..]];
        BinaryPrimitives.WriteInt32BigEndian(without.AsSpan(1), without.Length - 1);
        return without;
    }

    [GeneratedRegex(@"(?<column>\b(\w+\.)?tenant_id) = (?<value>\$[0-9]+)", RegexOptions.ExplicitCapture)]
    private static partial Regex Filter();
}
