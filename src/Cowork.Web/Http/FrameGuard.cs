using System.Buffers.Binary;
using System.Net.WebSockets;


namespace Cowork.Web.Http;

/// <summary>What a WebSocket takes of its client.</summary>
/// <param name="MessageBytes">Of one message, in all its frames.</param>
/// <param name="MessageTime">From the first byte of a message to its last.</param>
/// <param name="SendTime">Until the client, or the network, has taken a frame that is sent to it.</param>
/// <param name="FramesAtOnce">Frames of any kind, and each further <see cref="FrameLimits.BytesOfFrame"/> of one, that may come at once.</param>
/// <param name="FramesPerSecond">How many of them may come on the average.</param>
public sealed record FrameLimits(int MessageBytes, TimeSpan MessageTime, TimeSpan SendTime, int FramesAtOnce, int FramesPerSecond)
{
    /// <summary>A frame that is longer counts as several.</summary>
    public const int BytesOfFrame = 16 * 1024;

    /// <summary>The limits of docs/limits.md ("Of groups").</summary>
    public static FrameLimits Default { get; } = new(2 << 20, TimeSpan.FromSeconds(60), TimeSpan.FromSeconds(30), 512, 64);
}

/// <summary>Why a WebSocket ends.</summary>
/// <param name="Code">Of RFC 6455, 7.4, or one of ours from 4000 on.</param>
/// <param name="Reason">At most 123 bytes of UTF-8.</param>
/// <param name="IsStuck">True: the client takes nothing, so that no close frame reaches it.</param>
public sealed record SocketEnd(int Code, string Reason, bool IsStuck = false)
{
    public static SocketEnd Unmasked { get; } = new((int)WebSocketCloseStatus.ProtocolError, "A client's frames have a mask.");

    public static SocketEnd OutOfOrder { get; } = new((int)WebSocketCloseStatus.ProtocolError, "This frame may not come here (RFC 6455, 5).");

    public static SocketEnd Binary { get; } = new((int)WebSocketCloseStatus.InvalidMessageType, "Messages are text.");

    public static SocketEnd TooBig { get; } = new((int)WebSocketCloseStatus.MessageTooBig, "The message is too long.");

    public static SocketEnd TooMany { get; } = new((int)WebSocketCloseStatus.PolicyViolation, "Too many frames came in a short time.");

    public static SocketEnd TooSlow { get; } = new((int)WebSocketCloseStatus.PolicyViolation, "The message took too long to come.");

    public static SocketEnd Stuck { get; } = new((int)WebSocketCloseStatus.PolicyViolation, "The client took nothing for too long.", IsStuck: true);
}

/// <summary>
/// The connection under a WebSocket. It looks at the headers of the frames that come (RFC 6455, 5.2) before the WebSocket sees them, because that answers pings and waits
/// for the ends of messages without telling anybody. What is more than the limits allow never gets past here: the guard holds the connection back and says why it must
/// end. Other frames that break the protocol are the WebSocket's affair.
/// </summary>
public sealed class FrameGuard(Stream inner, FrameLimits limits, TimeProvider clock) : Stream
{
    const int BytesDrainedAtOnce = 16 * 1024;
    const int BytesDrainedMax = 64 << 20;

    const int HeaderMin = 2;
    const int HeaderMax = 14;

    /// <summary>Continuation, text, binary.</summary>
    const int DataOpcodesMax = 2;
    const int BinaryOpcode = 2;

    /// <summary>Close, ping, pong.</summary>
    const int CloseOpcode = 8;
    const int PongOpcode = 10;

    const int ControlBytesMax = 125;
    const int ReservedBits = 0x70;

    readonly byte[] header = new byte[HeaderMax];
    readonly TaskCompletionSource<SocketEnd> violated = new(TaskCreationOptions.RunContinuationsAsynchronously);
    int headerLength;
    long payloadLeft;
    bool isData;
    bool isLast;
    bool isAmidMessage;
    long messageBytes;
    long? messageBegan;
    double frames = limits.FramesAtOnce;
    long refilled = clock.GetTimestamp();

    /// <summary>Done when the client has exceeded a limit.</summary>
    public Task<SocketEnd> Violated => violated.Task;

    public override bool CanRead => true;

    public override bool CanWrite => true;

    public override bool CanSeek => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <summary>Reads and discards what still comes after <see cref="Violated"/>, until the client ends it or has sent too much.</summary>
    public async Task Drain(CancellationToken ct)
    {
        var buffer = new byte[BytesDrainedAtOnce];
        for (var left = BytesDrainedMax; left > 0;)
        {
            if (await inner.ReadAsync(buffer, ct) is not (> 0 and var read))
            {
                return;
            }
            left -= read;
        }
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var read = await ReadInTime(buffer, cancellationToken);
        if (read > 0 && Look(buffer.Span[..read]) is { } end)
        {
            violated.TrySetResult(end);
        }
        if (violated.Task.IsCompleted)
        {
            // Whoever reads waits until the socket is ended.
            await Task.Delay(Timeout.InfiniteTimeSpan, clock, cancellationToken);
        }
        return read;
    }

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var write = inner.WriteAsync(buffer, cancellationToken);
        if (write.IsCompletedSuccessfully)
        {
            await write;
            return;
        }
        await InTime(write.AsTask());
    }

    public override Task FlushAsync(CancellationToken cancellationToken) => InTime(inner.FlushAsync(cancellationToken));

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override void Flush()
    {
        // The connection has no buffer of its own.
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    /// <summary>Waits for a write. One that takes too long goes on, and the guard says that the client is stuck.</summary>
    async Task InTime(Task write)
    {
        if (write.IsCompleted)
        {
            await write;
            return;
        }
        using var done = new CancellationTokenSource();
        if (await Task.WhenAny(write, Task.Delay(limits.SendTime, clock, done.Token)) == write)
        {
            await done.CancelAsync();
        }
        else
        {
            violated.TrySetResult(SocketEnd.Stuck);
        }
        await write;
    }

    /// <summary>Reads. While a message is on its way, only for as long as it may take.</summary>
    async ValueTask<int> ReadInTime(Memory<byte> buffer, CancellationToken ct)
    {
        if (messageBegan is not { } began)
        {
            return await inner.ReadAsync(buffer, ct);
        }
        var left = limits.MessageTime - clock.GetElapsedTime(began);
        using var late = new CancellationTokenSource(left > TimeSpan.Zero ? left : TimeSpan.FromMilliseconds(1), clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(ct, late.Token);
        try
        {
            return await inner.ReadAsync(buffer, either.Token);
        }
        catch (OperationCanceledException) when (late.IsCancellationRequested && !ct.IsCancellationRequested)
        {
            violated.TrySetResult(SocketEnd.TooSlow);
            return 0;
        }
    }

    /// <summary>Follows the frames in what has come. Answers what they exceed; null: nothing.</summary>
    SocketEnd? Look(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            if (payloadLeft > 0)
            {
                var here = (int)Math.Min(payloadLeft, bytes.Length);
                bytes = bytes[here..];
                payloadLeft -= here;
                if (payloadLeft == 0)
                {
                    EndFrame();
                }
                continue;
            }
            if (headerLength == 0)
            {
                messageBegan ??= clock.GetTimestamp();
            }
            header[headerLength++] = bytes[0];
            bytes = bytes[1..];
            if (headerLength >= HeaderMin && headerLength == HeaderLength() && BeginFrame() is { } end)
            {
                return end;
            }
        }
        return null;
    }

    int HeaderLength() => HeaderMin + ((header[1] & 0x7F) switch { 126 => 2, 127 => 8, _ => 0 }) + ((header[1] & 0x80) == 0 ? 0 : 4);

    SocketEnd? BeginFrame()
    {
        var length = (header[1] & 0x7F) switch
        {
            126 => BinaryPrimitives.ReadUInt16BigEndian(header.AsSpan(HeaderMin)),
            127 => BinaryPrimitives.ReadUInt64BigEndian(header.AsSpan(HeaderMin)),
            var shortLength => (ulong)shortLength,
        };
        var opcode = header[0] & 0x0F;
        (headerLength, isData, isLast) = (0, opcode <= DataOpcodesMax, (header[0] & 0x80) != 0);
        if ((header[1] & 0x80) == 0)
        {
            // The WebSocket would wait for the mask.
            return SocketEnd.Unmasked;
        }
        if (opcode == BinaryOpcode)
        {
            return SocketEnd.Binary;
        }
        if (!MayCome(opcode, length))
        {
            // The WebSocket would say so, too, and break the connection off before the client has read it.
            return SocketEnd.OutOfOrder;
        }
        if (length > (ulong)limits.MessageBytes || (isData && (messageBytes += (long)length) > limits.MessageBytes))
        {
            return SocketEnd.TooBig;
        }
        if (!Take(1 + ((double)length / FrameLimits.BytesOfFrame)))
        {
            return SocketEnd.TooMany;
        }
        payloadLeft = (long)length;
        if (payloadLeft == 0)
        {
            EndFrame();
        }
        return null;
    }

    /// <summary>Whether a frame may have these bits and come here: control frames are short and whole, and only what continues a message comes amid one.</summary>
    bool MayCome(int opcode, ulong length) => (header[0] & ReservedBits) == 0
        && (isData ? opcode == 0 == isAmidMessage : opcode is >= CloseOpcode and <= PongOpcode && isLast && length <= ControlBytesMax);

    void EndFrame()
    {
        // A control frame may come amid a message, which stays as old as it is.
        isAmidMessage = isData ? !isLast : isAmidMessage;
        if (!isAmidMessage)
        {
            (messageBytes, messageBegan) = (0, null);
        }
    }

    bool Take(double cost)
    {
        var now = clock.GetTimestamp();
        frames = Math.Min(limits.FramesAtOnce, frames + (clock.GetElapsedTime(refilled, now).TotalSeconds * limits.FramesPerSecond));
        refilled = now;
        if (frames < cost)
        {
            return false;
        }
        frames -= cost;
        return true;
    }
}
