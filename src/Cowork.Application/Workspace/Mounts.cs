using System.Text;

namespace Cowork.Application;

/// <summary>
/// What is mounted where (<c>/proc/self/mountinfo</c>, proc_pid_mountinfo(5)). A folder has a second name where its file system, or a part of it, is mounted a second time, as bind
/// mounts and the volumes of containers do. Such a name shows in no link and, below a folder that is mounted, in no inode either: only the table of mounts tells.
/// </summary>
public sealed class Mounts
{
    const string Table = "/proc/self/mountinfo";

    static Mounts last = new("");

    readonly string table;
    readonly List<Mount> mounts = [];

    Mounts(string table)
    {
        this.table = table;
        foreach (var line in table.Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            if (line.Split(' ') is [_, _, var device, var root, var point, ..])
            {
                mounts.Add(new(Unescaped(point), new(device, Unescaped(root))));
            }
        }
    }

    /// <summary>A folder as its file system has it, which is the same under every name.</summary>
    readonly record struct Place(string Device, string Path);

    /// <param name="Point">Where it is mounted.</param>
    /// <param name="Of">The folder of the file system that is mounted there.</param>
    sealed record Mount(string Point, Place Of);

    /// <summary>A table in the form of the system's.</summary>
    public static Mounts Of(string table) => new(table);

    /// <summary>The table as it is now: the same object for as long as it does not change.</summary>
    public static Mounts Now()
    {
        var (known, table) = (Volatile.Read(ref last), Read());
        if (known.table == table)
        {
            return known;
        }
        var mounts = new Mounts(table);
        Volatile.Write(ref last, mounts);
        return mounts;
    }

    /// <summary>One of two folders is the other, or lies in it, under whatever names; what is mounted below them belongs to them.</summary>
    /// <param name="one">Absolute path, with every link followed.</param>
    /// <param name="other">As <paramref name="one"/>.</param>
    public bool Meet(string one, string other)
    {
        var places = PlacesOf(other);
        return PlacesOf(one).Exists(place => places.Exists(with => with.Device == place.Device && (IsInside(place.Path, with.Path) || IsInside(with.Path, place.Path))));
    }

    /// <summary>Where a folder lies, and what is mounted below it.</summary>
    List<Place> PlacesOf(string path)
    {
        // Of two at one point the later one covers the other.
        Mount? around = null;
        var places = new List<Place>();
        foreach (var mount in mounts)
        {
            if (IsInside(mount.Point, path) && mount.Point.Length >= (around?.Point.Length ?? 0))
            {
                around = mount;
            }
            else if (IsInside(path, mount.Point))
            {
                places.Add(mount.Of);
            }
        }
        if (around is not null)
        {
            places.Add(around.Of with { Path = $"{around.Of.Path.TrimEnd('/')}/{path[around.Point.Length..].TrimStart('/')}".TrimEnd('/') });
        }
        return places;
    }

    static bool IsInside(string folder, string path) =>
        folder.TrimEnd('/') is var start && path.StartsWith(start, StringComparison.Ordinal) && (path.Length == start.Length || path[start.Length] == '/');

    static string Read()
    {
        try
        {
            return File.ReadAllText(Table);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return ""; // without /proc no path is resolved either
        }
    }

    /// <summary>Spaces and the like are written as a backslash and three octal digits.</summary>
    static string Unescaped(string field)
    {
        if (!field.Contains('\\', StringComparison.Ordinal))
        {
            return field;
        }
        var bytes = new List<byte>();
        var raw = Encoding.UTF8.GetBytes(field);
        for (var i = 0; i < raw.Length; i++)
        {
            if (raw[i] == '\\' && i + 3 < raw.Length)
            {
                bytes.Add((byte)(((raw[i + 1] - '0') << 6) | ((raw[i + 2] - '0') << 3) | (raw[i + 3] - '0')));
                i += 3;
            }
            else
            {
                bytes.Add(raw[i]);
            }
        }
        return Encoding.UTF8.GetString([.. bytes]);
    }
}
