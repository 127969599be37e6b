using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

using Cowork.Application;

namespace Cowork.Kernels;

/// <summary>
/// As whom a sandbox runs when the host is root: never as root. A folder that belongs to another user is that user's; root's folder gets a user of its own, who has it
/// from then on, so that it stays the same user at the next start. The host's tools give that user what they make in the folder (<see cref="GrantedFolder"/>).
/// </summary>
readonly record struct SandboxUser(uint User, uint Group)
{
    /// <summary>Ids that neither people, services, containers nor systemd take. The second range is for hosts in a container that maps few ids.</summary>
    static readonly (uint First, uint Last)[] Ranges = [(0x7000_0000, 0x7fff_fffe), (61_184, 65_519)];

    static readonly Lock Giving = new();

    /// <summary>The user of the folder's sandbox. It makes root's folder that user's.</summary>
    /// <exception cref="IOException">The folder cannot be given to that user.</exception>
    /// <exception cref="UnauthorizedAccessException">The same.</exception>
    public static SandboxUser Of(GrantedFolder folder)
    {
        lock (Giving)
        {
            if (folder.User == 0)
            {
                folder.GiveTo(For(folder.Identity));
            }
            return new(folder.User, folder.Group == 0 ? folder.User : folder.Group);
        }
    }

    /// <summary>Makes another folder of the same sandbox its user's, when it is root's.</summary>
    /// <exception cref="IOException">The folder cannot be given to that user.</exception>
    /// <exception cref="UnauthorizedAccessException">The same.</exception>
    public static void GiveTo(GrantedFolder folder, SandboxUser user)
    {
        lock (Giving)
        {
            if (folder.User == 0)
            {
                folder.GiveTo(user.User);
            }
        }
    }

    /// <summary>A user that follows from a name.</summary>
    public static uint For(string identity)
    {
        var number = BinaryPrimitives.ReadUInt32LittleEndian(SHA256.HashData(Encoding.UTF8.GetBytes(identity)));
        var (first, last) = Array.Find(Ranges, r => IsMapped(r.First, r.Last));
        return first == 0 ? throw new IOException("This container maps no user ids that a sandbox could run as.") : first + (number % (last - first + 1));
    }

    /// <summary>A user namespace knows the ids that are mapped into it, and no others.</summary>
    static bool IsMapped(uint first, uint last) => File.ReadLines("/proc/self/uid_map")
        .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(n => long.Parse(n, CultureInfo.InvariantCulture)).ToList())
        .Any(map => map[0] <= first && last < map[0] + map[2]);
}
