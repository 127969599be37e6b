using System.Buffers.Binary;

namespace Cowork.Testing;

/// <summary>The messages of PostgreSQL's protocol, one at a time, for what stands between a client and a server.</summary>
public static class PostgresMessages
{
    const int Version3 = 196_608;

    /// <summary>A client's first message, after it was told that there is neither TLS nor GSS here.</summary>
    public static async Task<byte[]> Startup(Stream client)
    {
        while (true)
        {
            var message = await Sized(client, []);
            if (BinaryPrimitives.ReadInt32BigEndian(message.AsSpan(4)) == Version3)
            {
                return message;
            }
            await client.WriteAsync("N"u8.ToArray());
        }
    }

    /// <summary>The next message, with its type and its length.</summary>
    public static async Task<byte[]> Next(Stream from)
    {
        var type = new byte[1];
        await from.ReadExactlyAsync(type);
        return await Sized(from, type);
    }

    static async Task<byte[]> Sized(Stream from, byte[] head)
    {
        var size = new byte[4];
        await from.ReadExactlyAsync(size);
        var rest = new byte[BinaryPrimitives.ReadInt32BigEndian(size) - 4];
        await from.ReadExactlyAsync(rest);
        return [.. head, .. size, .. rest];
    }
}
