using System.Buffers.Binary;
using System.Globalization;
using System.Text;

using Cowork.Documents;

using Microsoft.Win32.SafeHandles;

// Cowork.Documents MODE HOST MEMORY SECONDS TEXT DOCUMENT [ENDING [TYPE]]
//
// MODE is `read` or `check`, and `confined-…` once the program has confined itself and begun again. HOST is the process that waits, MEMORY the bytes of memory, SECONDS the
// time, TEXT the longest text in bytes. DOCUMENT is a path; ENDING and TYPE say what the document is called and declared to be.
if (args is not [var mode, var host, var memory, var seconds, var text, var document, .. var about])
{
    Console.Error.WriteLine("This program is run by the host of Cowork.");
    return ExitCodes.NotStarted;
}
const string confined = "confined-";
if (!mode.StartsWith(confined, StringComparison.Ordinal))
{
    try
    {
        Confinement.ExecuteConfined(new(Number(host), long.Parse(memory, CultureInfo.InvariantCulture), Number(seconds)), document, [confined + mode, .. args[1..]]);
    }
    catch (Exception e) when (e is IOException or ConfinementException)
    {
        Console.Error.WriteLine(e.Message);
    }
    return ExitCodes.NotStarted;
}
using var output = Console.OpenStandardOutput();
var clock = new ReadingTime(TimeSpan.FromSeconds(Number(seconds)) * 2 / 3, TimeProvider.System);
var code = ExitCodes.Done;
// It has a stack of its own: readers of documents go as deep as the documents do.
var reader = new Thread(() => code = Run(), 8 << 20);
reader.Start();
reader.Join();
return code;

int Run()
{
    using var file = new FileStream(new SafeFileHandle(0, ownsHandle: false), FileAccess.Read, bufferSize: 64 * 1024);
    var means = Confinement.Complete();
    if (mode == confined + "check")
    {
        output.Write(Encoding.UTF8.GetBytes(string.Join('\n', means.Concat(ConfinementCheck.Run(Number(host), about)))));
        return ExitCodes.Done;
    }
    var end = DocumentReader.Read(file, about.ElementAtOrDefault(0) ?? "", about.ElementAtOrDefault(1) ?? "", new(output, Number(text)), clock);
    var status = Encoding.UTF8.GetBytes(string.Join('\n', end.MediaType, end.Code, end.Detail, end.IsCut ? "cut" : "whole", string.Join(' ', means)));
    var frame = new byte[8 + status.Length];
    // A frame without text is followed by the end.
    BinaryPrimitives.WriteInt32LittleEndian(frame.AsSpan(4), status.Length);
    status.CopyTo(frame, 8);
    output.Write(frame);
    return ExitCodes.Done;
}

static int Number(string text) => int.Parse(text, NumberStyles.None, CultureInfo.InvariantCulture);
